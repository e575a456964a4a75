# What the test scripts have in common; to be sourced.

CACHE=${CRIPTO_CACHE:-$HOME/.cache/cripto-prediction}
# The pins were tried with Python 3.11; scikit-learn 1.1 has no wheels for a newer one.
PYTHON=${PYTHON:-$(command -v python3.11 || command -v python3)}

say() { printf '\n== %s\n' "$*"; }

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
