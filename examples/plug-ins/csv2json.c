/* Turns comma separated values (RFC 4180) into JSON: an array with an object
 * for each line, whose names are those of the first. It knows nothing of
 * gateways: it reads standard input, writes standard output, complains on
 * standard error and says by its exit code how it went.
 *
 *   cc -o csv2json csv2json.c && ./csv2json < readings.csv */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 64 };

static char *names[COLUMNS];
static int columns;

static void fail(const char *why, int line) {
  fprintf(stderr, "line %d: %s\n", line, why);
  exit(1);
}

/* A field that grows with what is in it. */
static char *field;
static size_t length, room;

static void add(int c) {
  if (length + 1 >= room && !(field = realloc(field, room = room ? 2 * room : 256))) fail("a field is too long", 0);
  field[length++] = (char)c;
  field[length] = 0;
}

/* Reads one field and returns what ended it: a comma, a line's end or EOF. */
static int read_field(int line) {
  length = 0;
  add(0), length = 0; /* it is there, and empty */
  int c = getchar();
  if (c == '"') {
    for (;;) {
      if ((c = getchar()) == EOF) fail("a quote is open", line);
      if (c == '"' && (c = getchar()) != '"') break; /* two of them are one */
      add(c);
    }
  } else {
    for (; c != ',' && c != '\n' && c != '\r' && c != EOF; c = getchar()) {
      if (c == '"') fail("a quote stands within a field", line);
      add(c);
    }
  }
  if (c == '\r') c = getchar();
  if (c != ',' && c != '\n' && c != EOF) fail("something stands behind a quoted field", line);
  return c;
}

static void put_text(const char *s) {
  putchar('"');
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\') printf("\\%c", c);
    else if (c < 0x20) printf("\\u%04x", c);
    else putchar(c);
  }
  putchar('"');
}

/* Whether it is a number as JSON writes them. */
static int is_number(const char *s) {
  if (*s == '-') s++;
  if (*s == '0' && s[1] >= '0' && s[1] <= '9') return 0;
  size_t n = strspn(s, "0123456789");
  if (!n) return 0;
  s += n;
  if (*s == '.') {
    if (!(n = strspn(++s, "0123456789"))) return 0;
    s += n;
  }
  if (*s == 'e' || *s == 'E') {
    s++;
    if (*s == '+' || *s == '-') s++;
    if (!(n = strspn(s, "0123456789"))) return 0;
    s += n;
  }
  return !*s;
}

int main(void) {
  int end;
  do {
    end = read_field(1);
    if (!length) fail("a column has no name", 1);
    if (columns == COLUMNS) fail("there are more than 64 columns", 1);
    names[columns++] = strdup(field);
  } while (end == ',');

  putchar('[');
  for (int line = 2, rows = 0; end != EOF; line++) {
    int column = 0;
    do {
      end = read_field(line);
      if (!column && !length && end != ',') break; /* an empty line */
      if (column == columns) fail("there are more fields than columns", line);
      fputs(column ? "," : rows++ ? ",\n{" : "{", stdout);
      put_text(names[column++]);
      putchar(':');
      if (is_number(field)) fputs(field, stdout);
      else put_text(field);
    } while (end == ',');
    if (column && column < columns) fail("there are fewer fields than columns", line);
    if (column) putchar('}');
  }
  puts("]");
  return 0;
}
