package main

import (
	"io"
	"net/http/httptest"
	"testing"
)

func TestRoutes(t *testing.T) {
	server := httptest.NewServer(routes())
	defer server.Close()
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/", "Hello, world, from Go.\n", 200},
		{"/?name=gopher", "Hello, gopher, from Go.\n", 200},
		{"/healthz", "ok\n", 200},
		{"/nowhere", "404 page not found\n", 404},
	} {
		answer, err := server.Client().Get(server.URL + c.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != c.status || string(body) != c.body {
			t.Errorf("%s: %d %q, not %d %q", c.path, answer.StatusCode, body, c.status, c.body)
		}
	}
}
