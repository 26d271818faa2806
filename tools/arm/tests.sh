#!/usr/bin/env bash
# make test-arm: this machine, x86, writes what it makes of pictures and bundles; Arm, emulated, makes the same and compares.
#
#     tools/arm/tests.sh PYTHON FOLDER [TEST...]      PYTHON of this machine; FOLDER for Arm's
set -euo pipefail
python=$1 folder=$2 pins=tests/arm/pins.txt
shift 2
tests=("$@")
# pictures, bundles and packaging; bundles of old; engines: their key, seal, lock, builds and failures, with stand-ins
if [ ${#tests[@]} = 0 ]; then
  tests=(tests/arm tests/test_old_bundles.py tests/runtime/test_{engine_cache,engine_build,build_ladder}.py)
fi
if [ "$(uname -s) $(uname -m)" != "Linux x86_64" ]; then
  echo "make test-arm is skipped: it compares Arm with x86, and this machine is $(uname -s) $(uname -m)"
  exit
fi
status=0
why=$(tools/arm/python.sh "$folder" "$pins" prepare 2>&1) || status=$?
if [ $status = 3 ]; then
  echo "make test-arm is skipped: $why"
  exit
elif [ $status != 0 ]; then
  echo "$why" >&2
  exit $status
fi
mkdir -p "$folder/here"
ln -sfn ../.. "$folder/here/edgesmith"
rm -rf "$folder/x86"
export PYTHONPATH=$PWD/$folder/here
"$python" tests/helpers/arm_cases.py "$PWD/$folder/x86"
# one thread of BLAS: under an emulator several wait for each other most of the time
EDGESMITH_X86=$PWD/$folder/x86 OPENBLAS_NUM_THREADS=1 \
  tools/arm/python.sh "$folder" "$pins" -m pytest -q -p no:cacheprovider -m "not slow" "${tests[@]}"
