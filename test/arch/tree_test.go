package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// prefix is the path that all modules of the repository share.
const prefix = "github.com/peppasync/peppasync/"

// file is what the rules need to know of one Go file.
type file struct {
	name      string // with its folder, from the root of the repository
	test      bool
	generated bool
	lines     int
	imports   []string
	// Declarations that some rules forbid, each as "line: text".
	inits      []string
	registries []string
	clockReads []string
}

// pkg is a folder with Go files. Its path is the one from the repository's
// root, and the import path without prefix.
type pkg struct {
	path  string
	files []file
}

// readTree reads every Go file below root, whatever its build constraints:
// a rule must also hold for the systems that this machine is not. Folders
// that the go command ignores are left out.
func readTree(root fs.FS) ([]pkg, error) {
	byPath := map[string]*pkg{}
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != "." && ignoredFolder(entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		source, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		parsed, err := readFile(name, source)
		if err != nil {
			return err
		}
		folder := path.Dir(name)
		if byPath[folder] == nil {
			byPath[folder] = &pkg{path: folder}
		}
		byPath[folder].files = append(byPath[folder].files, parsed)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the tree: %w", err)
	}
	tree := make([]pkg, 0, len(byPath))
	for _, p := range byPath {
		tree = append(tree, *p)
	}
	slices.SortFunc(tree, func(a, b pkg) int { return strings.Compare(a.path, b.path) })
	return tree, nil
}

func ignoredFolder(name string) bool {
	return name == "testdata" || name == "vendor" || name == "bin" || name == "dist" ||
		strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

func readFile(name string, source []byte) (file, error) {
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return file{}, fmt.Errorf("parse %s: %w", name, err)
	}
	result := file{
		name:      name,
		test:      strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(syntax),
		lines:     bytes.Count(source, []byte("\n")),
	}
	at := func(node ast.Node, text string) string {
		return fmt.Sprintf("%d: %s", fset.Position(node.Pos()).Line, text)
	}
	for _, spec := range syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, fmt.Errorf("import of %s: %w", name, err)
		}
		result.imports = append(result.imports, imported)
	}
	for _, decl := range syntax.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Name.Name == "init" && decl.Recv == nil {
				result.inits = append(result.inits, at(decl, "func init"))
			}
		case *ast.GenDecl:
			if decl.Tok == token.VAR {
				for _, name := range registryNames(decl) {
					result.registries = append(result.registries, at(name, "var "+name.Name))
				}
			}
		}
	}
	ast.Inspect(syntax, func(node ast.Node) bool {
		if call, ok := node.(*ast.SelectorExpr); ok && readsClock(call) {
			result.clockReads = append(result.clockReads, at(call, "time."+call.Sel.Name))
		}
		return true
	})
	return result, nil
}

// registryNames returns the variables of a package-level declaration that
// begin empty and so have no use but to be filled: a nil or empty map or
// slice, a lock, a sync.Map. A table written out in full is not among them.
func registryNames(decl *ast.GenDecl) []*ast.Ident {
	var names []*ast.Ident
	for _, spec := range decl.Specs {
		spec, ok := spec.(*ast.ValueSpec)
		if !ok {
			continue
		}
		for i, name := range spec.Names {
			empty := len(spec.Values) == 0 && fillable(spec.Type)
			if i < len(spec.Values) {
				empty = emptyValue(spec.Values[i])
			}
			if empty && name.Name != "_" {
				names = append(names, name)
			}
		}
	}
	return names
}

func emptyValue(value ast.Expr) bool {
	switch value := value.(type) {
	case *ast.UnaryExpr:
		return value.Op == token.AND && emptyValue(value.X)
	case *ast.CompositeLit:
		return len(value.Elts) == 0 && fillable(value.Type)
	case *ast.CallExpr:
		called, ok := value.Fun.(*ast.Ident)
		return ok && (called.Name == "make" || called.Name == "new") && len(value.Args) > 0 && fillable(value.Args[0])
	}
	return false
}

func fillable(typ ast.Expr) bool {
	switch typ := typ.(type) {
	case *ast.MapType, *ast.ChanType:
		return true
	case *ast.ArrayType:
		return typ.Len == nil
	case *ast.IndexExpr: // atomic.Pointer[T]
		return fillable(typ.X)
	case *ast.SelectorExpr:
		from, ok := typ.X.(*ast.Ident)
		return ok && (from.Name == "sync" || from.Name == "atomic")
	}
	return false
}

func readsClock(selector *ast.SelectorExpr) bool {
	from, ok := selector.X.(*ast.Ident)
	if !ok || from.Name != "time" {
		return false
	}
	switch selector.Sel.Name {
	case "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker":
		return true
	}
	return false
}
