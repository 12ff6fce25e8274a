/* The C API from C99: header and shared library. */
#include "runtime/api/quant.h"

#include <stdio.h>
#include <string.h>

int main(void) {
  quant_module *module = NULL;
  quant_session_options options = {0};
  if (quant_module_open("/nonexistent.qmod", &module) != QUANT_INVALID_MODULE || module != NULL || options.isa != NULL)
    return 1;
  printf("%s: %s\n", quant_version(), quant_last_error());
  return strstr(quant_last_error(), "/nonexistent.qmod") == NULL;
}
