"""Source text without what a rule must not look at: comments and strings become spaces, lines stay where they are."""

import io
import re
import tokenize

_CPP_TOKEN = re.compile(
    r'//(?:\\\n|[^\n])*'
    r'|/\*.*?\*/'
    r'|R"(?P<delimiter>[^()\\\s]{0,16})\(.*?\)(?P=delimiter)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def strip_cpp(text):
    """Keeps `#include "..."` lines whole."""

    def replace(match):
        line_start = text.rfind("\n", 0, match.start()) + 1
        if match.group().startswith('"') and re.match(r"\s*#\s*include\s*$", text[line_start : match.start()]):
            return match.group()
        return _blank(match.group())

    return _CPP_TOKEN.sub(replace, text)


def strip_python(text):
    lines = [list(line) for line in text.splitlines(keepends=True)]
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type not in (tokenize.STRING, tokenize.COMMENT):
                continue
            (first, begin), (last, end) = token.start, token.end
            for row in range(first, last + 1):
                line = lines[row - 1]
                from_column = begin if row == first else 0
                to_column = end if row == last else len(line)
                for column in range(from_column, min(to_column, len(line))):
                    if line[column] != "\n":
                        line[column] = " "
    except (tokenize.TokenError, SyntaxError):
        return text  # not Python after all: the rules see it whole
    return "".join("".join(line) for line in lines)


def strip_shell(text):
    return re.sub(r"(?m)(^|\s)#.*$", r"\1", text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1
