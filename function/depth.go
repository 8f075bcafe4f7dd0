package function

// maxDepth bounds what is inside each other in a file: the library takes minutes
// and gigabytes for a few hundred kilobytes of brackets.
const maxDepth = 1000

// tooDeep reports whether a file opens more brackets than it closes, or has more
// dashes and question marks in a row, than any file that means something, and
// where. It knows no quotes: what is in texts counts too, which takes a
// text made for it to matter.
func tooDeep(text []byte) (line, column int, deep bool) {
	line = 1
	began, brackets, row := 0, 0, 0
	for i, b := range text {
		switch b {
		case '\n':
			line, began, row = line+1, i+1, 0
		case '[', '{':
			brackets++
		case ']', '}':
			brackets = max(0, brackets-1)
		case '-', '?':
			if i+1 < len(text) && text[i+1] == ' ' {
				row++
			}
		}
		if brackets > maxDepth || row > maxDepth {
			return line, i - began + 1, true
		}
	}
	return 0, 0, false
}
