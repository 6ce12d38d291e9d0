// Command static serves the directory DIR over HTTP on PORT and prints nothing: the program of a
// container that has no shell, no tar and nothing else.
//
//	static DIR PORT
package main

import (
	"net/http"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		os.Exit(2)
	}
	if err := http.ListenAndServe(":"+os.Args[2], http.FileServer(http.Dir(os.Args[1]))); err != nil {
		os.Exit(1)
	}
}
