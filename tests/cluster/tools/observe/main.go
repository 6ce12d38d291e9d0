// Command observe edits a file and measures, for each place where the edit should arrive, the time
// from just before the write until the new content is read there. Places are read every half
// millisecond; a place that is absent for an instant is just not there yet.
//
//	observe [-rounds N] [-limit DURATION] [-pause DURATION] FILE NAME=PLACE...
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const interval = 500 * time.Microsecond

type place struct {
	name, path string
	took       []time.Duration
}

func main() {
	rounds := flag.Int("rounds", 1, "how many edits")
	limit := flag.Duration("limit", 10*time.Second, "how long one edit may take")
	pause := flag.Duration("pause", 200*time.Millisecond, "rest between two edits")
	flag.Parse()
	if flag.NArg() < 2 || *rounds < 1 {
		flag.Usage()
		os.Exit(2)
	}
	places, err := parse(flag.Args()[1:])
	if err == nil {
		err = measure(flag.Arg(0), places, *rounds, *limit, *pause)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	for _, p := range places {
		fmt.Printf("%s: median %s ms, max %s ms, %d edits\n",
			p.name, milliseconds(median(p.took)), milliseconds(slices.Max(p.took)), len(p.took))
	}
}

func parse(args []string) ([]*place, error) {
	var places []*place
	for _, arg := range args {
		name, path, found := strings.Cut(arg, "=")
		if !found {
			return nil, fmt.Errorf("`%s` is not NAME=PLACE", arg)
		}
		places = append(places, &place{name: name, path: path})
	}
	return places, nil
}

func measure(file string, places []*place, rounds int, limit, pause time.Duration) error {
	for round := 1; round <= rounds; round++ {
		start := time.Now()
		content := fmt.Sprintf("edit %d of %d, at %s\n", round, rounds, start.Format(time.RFC3339Nano))
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return err
		}
		arrivals := make(chan error, len(places))
		for _, p := range places {
			go func() {
				took, err := arrival(p.path, content, start, limit)
				p.took = append(p.took, took)
				arrivals <- err
			}()
		}
		for range places {
			if err := <-arrivals; err != nil {
				return fmt.Errorf("edit %d: %w", round, err)
			}
		}
		time.Sleep(pause)
	}
	return nil
}

// arrival gives the time from start until path holds content.
func arrival(path, content string, start time.Time, limit time.Duration) (time.Duration, error) {
	for {
		text, err := os.ReadFile(path)
		took := time.Since(start)
		if err == nil && string(text) == content {
			return took, nil
		}
		if err != nil && !os.IsNotExist(err) {
			return 0, err
		}
		if took > limit {
			return 0, fmt.Errorf("`%s` did not hold the new content within %s", path, limit)
		}
		time.Sleep(interval)
	}
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Clone(times)
	slices.Sort(sorted)
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
}
