package main

import (
	"fmt"
	"net/http"
)

// routes says what the server answers, apart from the listening, so that the test needs no port.
func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintln(w, greeting(r.URL.Query().Get("name")))
	})
	return mux
}

func greeting(name string) string {
	if name == "" {
		name = "world"
	}
	return "Hello, " + name + ", from Go."
}
