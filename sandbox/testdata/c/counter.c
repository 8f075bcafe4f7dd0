#include "headgate.h"
#include <stdlib.h>

static int counter;

HG_HANDLE {
  char in[16];
  size_t n = hg_input(in, sizeof in);
  counter++;
  if (n == 4 && in[0] == 't') __builtin_trap();
  char out[2] = {(char)('0' + counter), '\n'};
  hg_output(out, 1);
  return 0;
}
