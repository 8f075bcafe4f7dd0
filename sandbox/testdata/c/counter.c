#include "headgate.h"
#include <stdlib.h>

static int counter;

HG_HANDLE {
  char in[16];
  size_t n = hg_input(in, sizeof in);
  counter++;
  if (n == 6) { /* half from the host, half from the C library */
    uint32_t r[4];
    hg_random(r, 8);
    r[2] = rand(), r[3] = rand();
    hg_output(r, sizeof r);
    return 0;
  }
  if (n == 4 && in[0] == 'f') return hg_fail("asked to fail");
  if (n == 4 && in[0] == 't') __builtin_trap();
  char out[2] = {(char)('0' + counter), '\n'};
  hg_output(out, 1);
  return 0;
}
