/* Uses objects as the other languages' objects guests do. */
#include <headgate.h>
#include <stdio.h>
#include <string.h>

HG_HANDLE {
  char a[64], part[8], about[256], own[64], page[256], keys[64] = "", out[256], small[4];
  int32_t n = hg_object_get("camera/in/a.txt", a, sizeof a - 1);
  if (n < 0) return hg_fail("permission");
  if (hg_object_get("camera/in/a.txt", small, sizeof small) != n) return hg_fail("the length of what does not fit");
  a[n] = 0;
  int32_t m = hg_object_read("camera/in/a.txt", 6, part, 5);
  if (m != 5 || hg_object_read("camera/in/a.txt", 11, part + 5, 1) != 0) return hg_fail("read");
  part[m] = 0;
  double size = 0;
  m = hg_object_stat("camera/in/a.txt", about, sizeof about);
  if (m < 0 || !hg_json_number(about, (size_t)m, "size", &size)) return hg_fail("stat");
  snprintf(out, sizeof out, "copy of %s", a);
  if (hg_object_put("thumbs/copy.txt", "text/x-copy", out, strlen(out))) return hg_fail("put");
  if (hg_object_delete("camera/in/b.bin")) return hg_fail("delete");
  int32_t back = hg_object_get("thumbs/copy.txt", own, sizeof own);
  uint32_t cursor = 0;
  do {
    m = hg_object_list("camera/in/", cursor, page, sizeof page);
    if (m < 0 || m > (int32_t)sizeof page) return hg_fail("list");
    const char *key;
    uint32_t len;
    for (hg_keys k = hg_page(page, m, &cursor); hg_next(&k, &key, &len);) {
      if (keys[0]) strcat(keys, ",");
      strncat(keys, key, len);
    }
  } while (cursor);
  int none = hg_object_get("camera/none", own, sizeof own) == HG_NOT_FOUND;
  int denied = hg_object_put("other/x", "", "y", 1) == HG_DENIED;
  snprintf(out, sizeof out, "%s|%s|%d|%d|%s|%s|%s", a, part, (int)size, (int)back, keys, none ? "none" : "some", denied ? "denied" : "allowed");
  hg_output(out, strlen(out));
  return 0;
}
