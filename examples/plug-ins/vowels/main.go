// Command vowels is the hello of Extism: a plug-in that counts the vowels of
// its input, and of all inputs so far. Any Extism host runs it; this one keeps
// the total with the function's state.
package main

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/extism/go-pdk"
)

type report struct {
	Count  int    `json:"count"`
	Total  int    `json:"total"`
	Vowels string `json:"vowels"`
}

func main() {}

//go:wasmexport count_vowels
func countVowels() int32 {
	vowels, ok := pdk.GetConfig("vowels")
	if !ok {
		vowels = "aeiouAEIOU"
	}
	count := 0
	for _, c := range pdk.InputString() {
		if strings.ContainsRune(vowels, c) {
			count++
		}
	}

	total := count
	if before := pdk.GetVar("total"); before != nil {
		n, err := strconv.Atoi(string(before))
		if err != nil {
			pdk.SetError(err)
			return 1
		}
		total += n
	}
	pdk.SetVar("total", []byte(strconv.Itoa(total)))

	out, err := json.Marshal(report{count, total, vowels})
	if err != nil {
		pdk.SetError(err)
		return 1
	}
	pdk.Output(out)
	return 0
}
