#include "headgate.h"

HG_HANDLE {
  char in[256];
  double value;
  size_t n = hg_input(in, sizeof in);
  if (n <= sizeof in && hg_json_number(in, n, "value", &value) && value > 25)
    return hg_publish("alarm/gw-17", "{\"v\":26.75}", 11, HG_QOS0, 0);
  return 0;
}
