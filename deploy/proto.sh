#!/bin/sh
# Generates exchange/v1 from proto/; with --check only says whether what is committed is what would be generated.
set -eu
cd "$(dirname "$0")/.."
bin=.venv/bin
out=.
if [ "${1:-}" = "--check" ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi
PATH="$PWD/$bin:$PATH" "$bin/python" -m grpc_tools.protoc -I proto \
    --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" \
    proto/exchange/v1/*.proto
touch "$out/exchange/v1/__init__.py"
if [ "$out" != . ]; then
    diff -r -x __pycache__ "$out/exchange/v1" exchange/v1
fi
