//go:build e2e

package examples

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlugIns(t *testing.T) {
	files := t.TempDir()
	example{
		folder:  "plug-ins",
		check:   func(ctx context.Context, s *site) error { return checkPlugIns(ctx, s, files) },
		without: map[string]string{"vowels": "POST /vowels: answered 404", "csv2json": "POST /csv: answered 404"},
	}.run(t)
}

func checkPlugIns(ctx context.Context, s *site, files string) error {
	total := 0
	for _, text := range []string{"Hello, World!", "", "rhythm", "queueing aUdIO"} {
		count := strings.Count(strings.Map(func(r rune) rune {
			if strings.ContainsRune("aeiouAEIOU", r) {
				return '*'
			}
			return r
		}, text), "*")
		total += count
		a, err := s.curl(ctx, "/vowels", "-d", text)
		if err == nil {
			err = a.demand("POST /vowels", 200, map[string]any{"count": count, "total": total, "vowels": "aeiouAEIOU"})
		}
		if err != nil {
			return err
		}
	}
	s.say("%d vowels in four requests", total)
	return checkCSV(ctx, s, files)
}

// checkCSV writes tables with the standard library's writer.
func checkCSV(ctx context.Context, s *site, files string) error {
	random := rand.New(rand.NewPCG(9, 9))
	words := []string{"pump", "", " spaced ", "a,b", `"quoted"`, "two\nlines", "Jürgen", `back\slash`, "007", "-", "1.", "tab\there"}
	numbers := map[string]float64{"0": 0, "-12": -12, "3.25": 3.25, "1e3": 1000, "-0.5E-1": -0.05}
	rows := 0
	for n := range 5 {
		names := []string{"probe", "näme, quoted", `"`}
		table := [][]string{names}
		want := []any{}
		for range n * 20 {
			record, row := []string{}, map[string]any{}
			for column, name := range names {
				record = append(record, words[random.IntN(len(words))])
				row[name] = record[column]
				for text, value := range numbers {
					if random.IntN(8) == 0 {
						record[column], row[name] = text, value
					}
				}
			}
			table, want = append(table, record), append(want, row)
		}
		rows += len(want)
		var text bytes.Buffer
		w := csv.NewWriter(&text)
		w.UseCRLF = n%2 == 0
		if err := w.WriteAll(table); err != nil {
			return err
		}
		// With UseCRLF the writer ends the lines within a field so too.
		if w.UseCRLF {
			text = *bytes.NewBuffer(bytes.ReplaceAll(text.Bytes(), []byte("two\r\nlines"), []byte("two\nlines")))
		}
		file := filepath.Join(files, "table.csv")
		if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
			return err
		}
		a, err := s.curl(ctx, "/csv", "--data-binary", "@"+file)
		if err == nil {
			err = a.demand("POST /csv", 200, want)
		}
		if err != nil {
			return err
		}
	}
	for _, bad := range []string{"", "a,b\n1\n", "a\n1,2\n", "a\n\"open", "a\n\"x\"y\n", "a,\n1,2\n"} {
		a, err := s.curl(ctx, "/csv", "--data-binary", bad)
		if err == nil {
			err = a.demand(fmt.Sprintf("POST /csv of %q", bad), 500, nil)
		}
		if err != nil {
			return err
		}
	}
	s.say("%d rows as JSON, six tables refused", rows)
	return nil
}
