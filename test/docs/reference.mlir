// docs/reference/ is what the .td files say; tools/update-docs.sh writes it anew.
// REQUIRES: docs
// RUN: %source/tools/update-docs.sh --check %build
