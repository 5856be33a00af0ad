package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// A figure above its limit is marked. A figure without floor or limit has an empty cell.
// Microseconds have two digits, so that a small excess is visible.
func TestRender(t *testing.T) {
	text := render([]figure{
		{what: "a", value: 2, floor: 1, floorIs: "nothing", limit: 3, unit: "ms"},
		{what: "b", value: 4, limit: 3, unit: "ms"},
		{what: "c", value: 5, unit: "MB"},
		{what: "d", value: 2.416, limit: 2.404, unit: "µs"},
	}, 10)
	for _, want := range []string{"| a | 2.0 ms | 1.0 ms (nothing) | 3.0 ms |\n", "| b | 4.0 ms |  | 3.0 ms, exceeded |\n", "| c | 5.00 MB |  |  |\n", "| d | 2.42 µs |  | 2.40 µs, exceeded |\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no row %q in\n%s", want, text)
		}
	}
}

// The table says how many batches a figure is the median of, and the benchmark has that constant.
func TestBatches(t *testing.T) {
	const name = "turns"
	file, err := parser.ParseFile(token.NewFileSet(), "../../netcfg/bench_test.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	value := ""
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && spec.Names[0].Name == name && len(spec.Values) == 1 {
			if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
				value = lit.Value
			}
		}
		return true
	})
	if value != strconv.Itoa(batches) {
		t.Errorf("the benchmark has %s = %q, and the table says %d", name, value, batches)
	}
}

func TestLines(t *testing.T) {
	m := benchmarkLine.FindStringSubmatch("BenchmarkForeignRules/nft-0-2         \t    3000\t     77659 ns/op\n")
	if len(m) != 4 || m[1] != "nft-0" || m[2] != "77659" || m[3] != "" {
		t.Errorf("benchmark: %q", m)
	}
	m = benchmarkLine.FindStringSubmatch("BenchmarkFirstPacket/legacy-only-400-2         \t    2000\t     275346 ns/op\t      1181 ns/flow\n")
	if len(m) != 4 || m[1] != "legacy-only-400" || m[3] != "1181" {
		t.Errorf("benchmark with batches: %q", m)
	}
	m = restoreLine.FindStringSubmatch("    cost_test.go:79: restore of iptables nft: CPU 14121000 ns, minimum of 20")
	if len(m) != 4 || m[1] != "" || m[2] != "iptables nft" || m[3] != "14121000" {
		t.Errorf("restore: %q", m)
	}
	if m = restoreLine.FindStringSubmatch("former restore of nftables: CPU 1 ns"); len(m) != 4 || m[1] == "" {
		t.Errorf("former restore: %q", m)
	}
}
