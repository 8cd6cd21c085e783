# Shared by the scripts; to be sourced from the root of the checkout.

say() { printf '== %s\n' "$*"; }

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# build_preset <preset> [target …]: configures and builds in build/<preset>; all targets when none is named.
build_preset() {
  local preset=$1
  shift
  local targets=()
  local target
  for target in "$@"; do targets+=(--target "$target"); done
  local said
  said=$(cmake --preset "$preset" 2>&1) || {
    printf '%s\n' "$said" >&2
    fail "cmake --preset $preset failed"
  }
  cmake --build "build/$preset" --parallel "$(nproc)" "${targets[@]}"
}

# The one file of that name in a build tree; CMake alone decides in which folder it lies.
built_file() {
  local found
  found=$(find "build/$1" -name "$2" \( -type f -o -type l \) -not -path '*/CMakeFiles/*' -print -quit)
  [[ -n $found ]] || fail "build/$1 holds no $2"
  realpath "$found"
}

# use_build <preset>: this shell and its children use library, daemon, command line and Python package of the checkout.
use_build() {
  STILLFRAME_LIBRARY=$(built_file "$1" libstillframe.so)
  local daemon command
  daemon=$(built_file "$1" stillframed)
  command=$(built_file "$1" stillframe)
  export STILLFRAME_LIBRARY
  export STILLFRAME_BUILD_DIR="$PWD/build/$1"
  export PYTHONPATH="$PWD/python${PYTHONPATH:+:$PYTHONPATH}"
  export PATH="$(dirname "$daemon"):$(dirname "$command"):$PATH"
}
