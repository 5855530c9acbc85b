#!/usr/bin/env bash
# Runs every fuzz target of the main module, one after the other.
# usage: tools/fuzz.sh FUZZTIME TAGS
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${1:-60s} tags=${2:-hashicorpmetrics}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Only packages with a fuzz target are built for listing.
mapfile -t dirs < <(git ls-files --cached --others --exclude-standard '*_test.go' |
  xargs -r grep -lE '^func Fuzz[A-Za-z0-9_]*\(' | xargs -r -n1 dirname | sort -u)

fuzz() { # fuzz DIR TARGET
  go test -tags "$tags" -run '^$' -fuzz "^$2\$" -fuzztime "$fuzztime" -fuzzminimizetime 200x -timeout 20m "./$1" 2>&1 | tee "$log"
}

count=0 failed=()
for dir in "${dirs[@]}"; do
  # A nested module has its own tests; its folder is not part of this one.
  go list -tags "$tags" "./$dir" >/dev/null 2>&1 || continue
  list=$(go test -tags "$tags" -list '^Fuzz' "./$dir")
  while read -r target; do
    count=$((count + 1))
    echo "== fuzz $dir $target for $fuzztime"
    fuzz "$dir" "$target" && continue
    # Go's fuzzer now and then reports its own stop at -fuzztime as a failure.
    # Without a failing input there is no finding: run it once more.
    if grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then
      echo "== the fuzzer stopped without a failing input; once more"
      fuzz "$dir" "$target" && continue
    fi
    failed+=("$dir $target")
  done < <(grep '^Fuzz' <<<"$list" || true)
done

echo "== $count fuzz targets ran for $fuzztime each, ${#failed[@]} with findings"
if [ ${#failed[@]} -gt 0 ]; then
  printf '!! %s\n' "${failed[@]}" >&2
  exit 1
fi
