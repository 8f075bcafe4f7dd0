// Command deaf is a gateway's binary that starts and never becomes ready.
package main

import "time"

func main() {
	for {
		time.Sleep(time.Hour)
	}
}
