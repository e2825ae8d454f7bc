# Sourced by ./run and ./check: from a fresh clone to a virtual environment in .venv. Installs only what is missing.

window_packages="libegl1 libgl1 libopengl0 libglib2.0-0 libdbus-1-3 libfontconfig1 libfreetype6 libxkbcommon0
  libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0
  libxcb-shape0 libxcb-shm0 libxcb-sync1 libxcb-xfixes0 libxcb-xkb1 fonts-dejavu-core"
test_packages="xvfb xauth"

# Debian packages that are not installed yet. Later Debians rename some (libglib2.0-0t64): a new name counts.
missing_packages() {
  local name
  for name in "$@"; do
    dpkg-query -W -f '${Status}\n' "$name" "${name}t64" 2>/dev/null | grep -q "ok installed" || printf '%s ' "$name"
  done
}

install_system_packages() {
  if ! command -v apt-get >/dev/null; then
    echo "This is no Debian or Ubuntu: if the window does not start, install the counterparts of" $window_packages >&2
    return
  fi
  local missing as_root=""
  missing=$(missing_packages "$@")
  python3 -c "import ensurepip, venv" 2>/dev/null || missing="$missing python3-venv"
  [ -n "${missing// /}" ] || return 0
  echo "These system packages are missing and will be installed by apt-get: $missing" >&2
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
      echo "That needs root, and there is no sudo. As root: apt-get install -y $missing" >&2
      exit 1
    }
    as_root="sudo"
  fi
  $as_root apt-get update -q
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -q --no-install-recommends $missing
}

# The first Python that is new enough.
find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11; do
    if "$name" -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "MFT Lab needs Python 3.11 or newer; install it and try again." >&2
  exit 1
}

# install_project EXTRA: the project and its dependencies, again only where pyproject.toml changed since.
install_project() {
  local python stamp
  stamp=".venv/installed-$(cksum <pyproject.toml | tr -d ' ')$1"
  [ ! -e "$stamp" ] || return 0
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    "$python" -m venv .venv
  fi
  echo "Installing MFT Lab and what it depends on into .venv (a few minutes, about 2 GB) ..." >&2
  # One build of torch for everybody. TORCH_INDEX_URL may name an index that serves its CPU build.
  if ! .venv/bin/python -c "import torch" 2>/dev/null; then
    .venv/bin/pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "torch==2.13.0"
  fi
  .venv/bin/pip install -e ".$1"
  touch "$stamp"
}
