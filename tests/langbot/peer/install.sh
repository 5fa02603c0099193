#!/usr/bin/env bash
# Installs LangBot into .local/langbot-venv of this clone, unless it is there already.
set -euo pipefail
python=$1
here=$(cd "$(dirname "$0")" && pwd)
constraints=$here/../constraints.txt
venv=$here/../../../.local/langbot-venv

if cmp -s "$constraints" "$venv/installed.txt"; then exit; fi
echo "Installing LangBot 4.11.2 for test-langbot into .local/langbot-venv: 1.5 GB, some 3 minutes."
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/pip" install --disable-pip-version-check --progress-bar off -c "$constraints" langbot==4.11.2 |
  awk '/^Collecting/ { printf "\r  %d packages found ", ++n; fflush() }
       /^Installing/ { printf "\n  unpacking them\n"; fflush() }'
cp "$constraints" "$venv/installed.txt"
echo "LangBot is installed."
