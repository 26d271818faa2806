#!/usr/bin/env bash
# GUESS    `opt_in_out --opt_out` of OpenVINO's telemetry writes the answer into a file, and sends nothing
# SEEN     it sends one more event, with the old and the new choice, the system and its version. CI=true keeps `import openvino` quiet;
#          for `opt_in_out` it changes nothing. A file ~/intel/openvino_telemetry with 0 in it is the way that sends nothing
# COST     whoever opts out to keep machines silent has them speak once each
# RUN      bash findings/openvino_opt_out_sends_an_event.sh     what would be sent is printed in place of being sent
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check openvino-telemetry==2025.2.0
mkdir "$folder/home"
export HOME="$folder/home" CI=true
"$folder/env/bin/python" - <<'PYTHON'
import importlib.metadata
from pathlib import Path

from openvino_telemetry import Telemetry
from openvino_telemetry.backend import backend_ga4

sent: list[str] = []
backend_ga4.GA4Backend.send = lambda backend, message: sent.append(str(message))  # nothing leaves this machine
Telemetry.opt_out("G-0000000000")
telemetry = Telemetry()
telemetry.sender.executor.shutdown(wait=True)
consent = Path.home() / "intel" / "openvino_telemetry"
print("openvino-telemetry", importlib.metadata.version("openvino-telemetry"))
print("consent file:", consent.read_text(), " sent while opting out:", sent)
assert consent.read_text() == "0"
assert len(sent) == 1 and "declined" in sent[0], "opting out sends nothing any more"
PYTHON
