// Package nearest finds the name that was meant by one that there is none of.
package nearest

// Name is the name that takes the fewest changes to become one of some, if
// they are few; empty is that there is none.
func Name(name string, among []string) (nearest string) {
	best := max(len(name)/3, 1) + 1
	for _, n := range among {
		if d := distance(name, n); d < best {
			nearest, best = n, d
		}
	}
	return nearest
}

// distance is how many bytes have to be changed, put in, left out or exchanged
// with their neighbour to make b of a.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, now := rows[(i+2)%3], rows[i%3], rows[(i+1)%3]
		now[0] = i
		for j := 1; j <= len(b); j++ {
			same := 1
			if a[i-1] == b[j-1] {
				same = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+same)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
