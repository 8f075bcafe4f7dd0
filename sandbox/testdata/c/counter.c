#include "headgate.h"
#include <stdlib.h>

static int counter;

HG_HANDLE {
  char in[16];
  size_t n = hg_input(in, sizeof in);
  counter++;
  if (in[0] == 'r') { /* from the host, and from the C library */
    uint32_t r[2] = {0, 0};
    if (n == 6) hg_random(r, sizeof r);
    else r[0] = rand(), r[1] = rand();
    hg_output(r, sizeof r);
    return 0;
  }
  if (n == 4 && in[0] == 'f') return hg_fail("asked to fail");
  if (n == 4 && in[0] == 't') __builtin_trap();
  char out[2] = {(char)('0' + counter), '\n'};
  hg_output(out, 1);
  return 0;
}
