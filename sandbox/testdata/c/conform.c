#include "headgate.h"
#include <string.h>

static char ready[8];

HG_INIT {
  int32_t n = hg_config("mode", ready, sizeof ready);
  return n == 4 ? 0 : hg_fail("no mode");
}

HG_HANDLE {
  char v[64], page[1024], list[1024] = "";
  int32_t n;
  double target = 0, value = 0;
  char in[128];
  size_t len = hg_input(in, sizeof in);
  if (!hg_json_number(in, len, "value", &value) || value != -27.5e1) return hg_fail("input");
  n = hg_meta("params.field", v, sizeof v);
  if (n != 1 || v[0] != '3') return hg_fail("param");
  if (hg_meta("nothing", v, sizeof v) != HG_NOT_FOUND) return hg_fail("meta");
  n = hg_config("target", v, sizeof v);
  if (n != 2 || memcmp(v, "32", 2) || memcmp(ready, "\"on\"", 4)) return hg_fail("config");
  (void)target;
  if (hg_kv_get("missing", v, sizeof v) != HG_NOT_FOUND) return hg_fail("missing");
  if (hg_kv_get("other:x", v, sizeof v) != HG_DENIED) return hg_fail("denied");
  n = hg_kv_get("runs", v, sizeof v);
  if (n != 2 || memcmp(v, "41", 2)) return hg_fail("runs");
  if (hg_kv_set("runs", "42", 2, 0) || hg_kv_set("soil-1", "1", 1, 60) || hg_kv_del("old")) return hg_fail("write");
  n = hg_kv_get("runs", v, 1);
  if (n != 2 || v[0] != '4') return hg_fail("own write");
  uint32_t cursor = 0;
  do {
    n = hg_kv_list("", cursor, page, sizeof page);
    if (n < 0 || n > (int32_t)sizeof page) return hg_fail("list");
    const char *key;
    uint32_t kl;
    for (hg_keys k = hg_page(page, n, &cursor); hg_next(&k, &key, &kl);) {
      strncat(list, key, kl);
      strcat(list, " ");
    }
  } while (cursor);
  if (hg_publish("farm/3/valve", "open", 4, HG_QOS1 | HG_RETAIN, 90)) return hg_fail("publish");
  if (hg_publish("secret/x", "", 0, 0, 0) != HG_DENIED) return hg_fail("publish denied");
  if (hg_enqueue("jobs", "{\"a\":1}", 7, 5) || hg_invoke("other", "hi", 2)) return hg_fail("queue");
  n = hg_secret("k", v, sizeof v);
  if (n != 6 || memcmp(v, "s3cret", 6)) return hg_fail("secret");
  if (hg_secret("unset", v, sizeof v) != HG_NOT_FOUND) return hg_fail("unset secret");
  if (hg_secret("other", v, sizeof v) != HG_DENIED) return hg_fail("undeclared secret");
  if (hg_actuate("v", "on", 0) != HG_DENIED) return hg_fail("actuate");
  hg_metric("moisture", 27.5);
  hg_log(HG_INFO, "conform");
  hg_output_meta("kind", "test");
  hg_output(list, strlen(list));
  return 0;
}
