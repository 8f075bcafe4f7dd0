/* Fetches as the other languages' fetch guests do. */
#include <headgate.h>
#include <stdio.h>
#include <string.h>

static char small[300], large[16384];

HG_HANDLE {
  const char *url = "https://api.example.org/v1?q=\"1\"", *headers = "{\"accept\":\"text/plain\"}";
  int32_t n = hg_fetch("POST", url, headers, "hi\nthere", 8, small, sizeof small);
  if (n > (int32_t)sizeof small) n = hg_fetch("POST", url, headers, "hi\nthere", 8, large, sizeof large);
  if (n == HG_DENIED) return hg_fail("permission denied");
  if (n < 0) return hg_fail("no answer");
  size_t len;
  hg_fetch_body(large, n, &len);
  char out[64];
  snprintf(out, sizeof out, "%d %s %zu", hg_fetch_status(large, n), strstr(large, "text/plain") ? "text/plain" : "?", len);
  hg_output(out, strlen(out));
  if (hg_fetch("GET", url, 0, 0, 0, small, 10) != HG_LIMIT) return hg_fail("a request that does not fit was sent");
  return 0;
}
