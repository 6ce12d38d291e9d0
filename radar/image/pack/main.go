// Command pack writes a one-layer image as a docker-archive tar, with no daemon. The same inputs give
// the same bytes: entries are sorted, owned by root and carry no times.
//
//	pack -tag NAME:TAG -out FILE [-entrypoint ARG]... [-env K=V]...
//	     [-file SRC:DEST[:MODE]]... [-link TARGET:DEST]... [-dir DEST[:MODE]]...
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"sort"
	"strconv"
	"strings"
)

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// layer maps a path inside the image, without its leading slash, to its tar entry.
type layer map[string]entry

type entry struct {
	header tar.Header
	data   []byte
}

func main() {
	var entrypoint, env, files, links, dirs list
	tag := flag.String("tag", "", "the image's reference, NAME:TAG")
	out := flag.String("out", "", "the tar to write")
	flag.Var(&entrypoint, "entrypoint", "one word of the entrypoint, in order")
	flag.Var(&env, "env", "K=V")
	flag.Var(&files, "file", "SRC:DEST[:MODE], mode 755 unless told")
	flag.Var(&links, "link", "TARGET:DEST, a symbolic link")
	flag.Var(&dirs, "dir", "DEST[:MODE], an empty directory")
	flag.Parse()
	if *tag == "" || *out == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	content, err := collect(files, links, dirs)
	if err == nil {
		err = write(*out, *tag, entrypoint, env, content)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: pack `%s`: %v\n", *tag, err)
		os.Exit(1)
	}
}

func collect(files, links, dirs list) (layer, error) {
	content := layer{}
	for _, spec := range dirs {
		dest, mode, err := withMode(spec)
		if err != nil {
			return nil, err
		}
		content.add(dest, tar.Header{Typeflag: tar.TypeDir, Mode: mode}, nil)
	}
	for _, spec := range links {
		target, dest, found := strings.Cut(spec, ":")
		if !found {
			return nil, fmt.Errorf("link `%s` is not TARGET:DEST", spec)
		}
		content.add(dest, tar.Header{Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, nil)
	}
	for _, spec := range files {
		source, rest, found := strings.Cut(spec, ":")
		if !found {
			return nil, fmt.Errorf("file `%s` is not SRC:DEST[:MODE]", spec)
		}
		dest, mode, err := withMode(rest)
		if err != nil {
			return nil, err
		}
		data, err := os.ReadFile(source)
		if err != nil {
			return nil, err
		}
		content.add(dest, tar.Header{Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(data))}, data)
	}
	return content, nil
}

// withMode splits DEST[:MODE], MODE in octal.
func withMode(spec string) (string, int64, error) {
	dest, octal, found := strings.Cut(spec, ":")
	if !found {
		return dest, 0o755, nil
	}
	mode, err := strconv.ParseInt(octal, 8, 32)
	if err != nil {
		return "", 0, fmt.Errorf("mode `%s` of `%s` is not octal", octal, dest)
	}
	return dest, mode, nil
}

// add puts one entry at dest, and a plain directory at each of its parents that has none yet.
func (l layer) add(dest string, header tar.Header, data []byte) {
	name := strings.TrimPrefix(path.Clean("/"+dest), "/")
	for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
		if _, there := l[parent]; !there {
			l[parent] = entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}}
		}
	}
	l[name] = entry{header, data}
}

// tar gives the layer's bytes; sorted by name, so a directory comes before what it holds.
func (l layer) tar() ([]byte, error) {
	names := make([]string, 0, len(l))
	for name := range l {
		names = append(names, name)
	}
	sort.Strings(names)
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, name := range names {
		e := l[name]
		if err := put(writer, name, e.header, e.data); err != nil {
			return nil, err
		}
	}
	err := writer.Close()
	return buffer.Bytes(), err
}

func put(writer *tar.Writer, name string, header tar.Header, data []byte) error {
	header.Name, header.Format = name, tar.FormatPAX
	if header.Typeflag == tar.TypeDir {
		header.Name += "/"
	}
	if err := writer.WriteHeader(&header); err != nil {
		return err
	}
	_, err := writer.Write(data)
	return err
}

// write makes the archive beside its place and renames it there. Its form is that of `docker save`:
// manifest.json names the image's configuration and its layers.
func write(out, tag string, entrypoint, env list, content layer) error {
	data, err := content.tar()
	if err != nil {
		return err
	}
	id := sha256.Sum256(data)
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": entrypoint, "Env": env},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", id)}},
		"history":      []map[string]any{{"created_by": "pack"}},
	})
	if err != nil {
		return err
	}
	configName := fmt.Sprintf("%x.json", sha256.Sum256(config))
	layerName := fmt.Sprintf("%x/layer.tar", id)
	manifest, err := json.Marshal([]map[string]any{
		{"Config": configName, "RepoTags": []string{tag}, "Layers": []string{layerName}},
	})
	if err != nil {
		return err
	}

	file, err := os.CreateTemp(path.Dir(out), ".pack-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it is renamed, as it should
	if err := archive(file, configName, config, layerName, data, manifest); err != nil {
		return err
	}
	return os.Rename(file.Name(), out)
}

func archive(file *os.File, configName string, config []byte, layerName string, data, manifest []byte) error {
	writer := tar.NewWriter(io.Writer(file))
	plain := func(name string, data []byte) error {
		return put(writer, name, tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))}, data)
	}
	if err := plain("manifest.json", manifest); err != nil {
		return err
	}
	if err := plain(configName, config); err != nil {
		return err
	}
	if err := plain(layerName, data); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	if err := file.Chmod(0o644); err != nil {
		return err
	}
	return file.Close()
}
