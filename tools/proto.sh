#!/usr/bin/env bash
# Generates the Go code of every .proto file.
# usage: tools/proto.sh BIN OUT   (BIN holds the plugins, OUT is the root to write below)
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1 out=$2
module=github.com/lockcluster/lockcluster
want=3.21

if ! command -v protoc >/dev/null; then
  echo "protoc is missing: apt-get install protobuf-compiler (Debian 12 has $want)" >&2
  exit 1
fi
have=$(protoc --version | awk '{print $2}')
case $have in
  "$want".*) ;;
  *) echo "protoc $have instead of $want: the version in the generated comments will differ" >&2 ;;
esac

mapfile -t files < <(git ls-files --cached --others --exclude-standard '*.proto' | sort)
if [ ${#files[@]} -eq 0 ]; then
  echo "no .proto file found" >&2
  exit 1
fi
protoc -I . \
  --plugin=protoc-gen-go="$bin/protoc-gen-go" --go_out="$out" --go_opt=module=$module \
  --plugin=protoc-gen-go-grpc="$bin/protoc-gen-go-grpc" --go-grpc_out="$out" --go-grpc_opt=module=$module \
  "${files[@]}"
