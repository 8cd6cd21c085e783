#include "daemon/config.hpp"

#include <algorithm>
#include <optional>
#include <sstream>

#include "daemon/config_keys.hpp"
#include "daemon/config_text.hpp"

#define TOML_EXCEPTIONS 0
// Its assertions end the process over mistakes in the text for which it has error messages as well.
#define TOML_ASSERT(expression) static_assert(true)
#include <toml++/toml.h>

namespace stillframe::daemon {
namespace {

struct Problem {
  std::uint32_t line = 0;
  std::string text;  // "<section.key>: expected …"
};

class Parser {
 public:
  void read(const toml::table& root) {
    for (const auto& [section, node] : root) read_section(section, node);
  }
  [[nodiscard]] const Config& config() const { return config_; }
  // The first in the file: what a person mends first, and often the cause of the others.
  [[nodiscard]] std::optional<Problem> first_problem() const {
    if (problems_.empty()) return std::nullopt;
    return *std::ranges::min_element(problems_, {}, &Problem::line);
  }

 private:
  void read_section(const toml::key& key, const toml::node& node) {
    const std::string section(key.str());
    if (!is_section(section)) {
      return add(key, node, section, "a known section",
                 node.is_table() ? "an unknown one" : "a key outside of a section", suggest(section, node));
    }
    if (!node.is_table()) return add(key, node, section, "a section [" + section + "]", describe(node), "");
    for (const auto& [name, value] : *node.as_table()) read_key(section, name, value);
  }

  void read_key(const std::string& section, const toml::key& key, const toml::node& node) {
    const std::string name = section + "." + std::string(key.str());
    const auto& rules = key_rules();
    const auto rule = std::ranges::find(rules, name, [](const KeyRule& r) { return r.key.name; });
    if (rule == rules.end()) {
      return add(key, node, name, "a known key", "an unknown one", suggested_key(name));
    }
    if (rule->set_text) return read_text(key, node, *rule);
    if (!set(*rule, node)) add(key, node, name, rule->expected, describe(node), "");
  }

  void read_text(const toml::key& key, const toml::node& node, const KeyRule& rule) {
    const auto text = text_of(node);
    if (!text) return add(key, node, rule.key.name, rule.expected, describe(node), "");
    if (const Status set = rule.set_text(config_, *text); !set.ok()) {
      problems_.push_back({line_of(key, node), rule.key.name + ": " + set.message()});
    }
  }

  // Of an integer, a string, or a list of them; nullopt for anything else.
  static std::optional<std::string> text_of(const toml::node& node) {
    if (const auto* integer = node.as_integer()) return std::to_string(integer->get());
    if (const auto* string = node.as_string()) return string->get();
    const auto* list = node.as_array();
    if (list == nullptr) return std::nullopt;
    std::string text;
    for (const toml::node& item : *list) {
      if (!item.is_integer() && !item.is_string()) return std::nullopt;
      text += (text.empty() ? "" : ", ") + *text_of(item);
    }
    return text;
  }

  bool set(const KeyRule& rule, const toml::node& node) {
    if (rule.set_string) {
      const auto* text = node.as_string();
      return text != nullptr && rule.set_string(config_, text->get());
    }
    const auto* number = node.as_integer();
    return number != nullptr && number->get() >= 0 &&
           rule.set_integer(config_, static_cast<std::uint64_t>(number->get()));
  }

  static bool is_section(const std::string& section) {
    return std::ranges::any_of(key_rules(), [&](const KeyRule& r) { return r.key.name.starts_with(section + "."); });
  }

  // A bare key that some section knows ("budget_bytes = …" above every section) is answered with its full name.
  static std::string suggest(const std::string& name, const toml::node& node) {
    std::vector<std::string> sections;
    for (const KeyRule& rule : key_rules()) {
      const std::size_t dot = rule.key.name.find('.');
      if (!node.is_table() && rule.key.name.substr(dot + 1) == name) return rule.key.name;
      sections.push_back(rule.key.name.substr(0, dot));
    }
    return nearest(name, sections);
  }

  static std::string describe(const toml::node& node) {
    std::ostringstream text;
    if (const auto* s = node.as_string()) {
      text << "the string \"" << s->get() << '"';
    } else if (const auto* i = node.as_integer()) {
      text << i->get();
    } else {
      text << "a value of type " << node.type();
    }
    return text.str();
  }

  void add(const toml::key& key, const toml::node& node, const std::string& name, const std::string& expected,
           const std::string& found, const std::string& suggestion) {
    std::string text = name + ": expected " + expected + ", found " + found;
    if (!suggestion.empty()) text += "; did you mean " + suggestion + "?";
    problems_.push_back({line_of(key, node), std::move(text)});
  }

  // A key's own position is missing for tables that only dotted names imply; their first value has one.
  static std::uint32_t line_of(const toml::key& key, const toml::node& node) {
    return key.source().begin.line != 0 ? key.source().begin.line : node.source().begin.line;
  }

  Config config_;
  std::vector<Problem> problems_;
};

Status at_line(const std::string& file_name, std::uint32_t line, const std::string& text) {
  return {Code::invalid_argument, file_name + ":" + std::to_string(line) + ": " + text};
}

}  // namespace

Result<Config> parse_config(std::string_view toml, const std::string& file_name) {
  if (const auto line = line_of_misplaced_letter(toml)) {
    return at_line(file_name, *line, "expected keys, numbers and section names in ASCII, and ASCII behind a backslash, found another letter");
  }
  const toml::parse_result parsed = toml::parse(toml, file_name);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return at_line(file_name, error.source().begin.line,
                   "expected valid TOML, found a syntax error: " + std::string(error.description()));
  }
  Parser parser;
  parser.read(parsed.table());
  if (const auto problem = parser.first_problem()) return at_line(file_name, problem->line, problem->text);
  return parser.config();
}

}  // namespace stillframe::daemon
