// Command pid prints the process id, on this machine, of a container's first process.
//
// The container's id comes from the pod's status. The id's runtime then says the process's id inside
// the cluster's PID namespace (all nodes share it, so no search there could tell them apart), and the
// kernel's NSpid line turns that into this machine's.
//
//	pid -pki DIR -server URL -space PID NAMESPACE POD CONTAINER
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const limit = 10 * time.Second

func main() {
	pki := flag.String("pki", "", "folder with ca.crt, admin.crt and admin.key")
	server := flag.String("server", "", "the API server's URL")
	space := flag.Int("space", 0, "the first process of the cluster's namespaces")
	flag.Parse()
	if flag.NArg() != 3 {
		flag.Usage()
		os.Exit(2)
	}
	pid, err := find(*pki, *server, *space, flag.Arg(0), flag.Arg(1), flag.Arg(2))
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	fmt.Println(pid)
}

func find(pki, server string, space int, namespace, pod, container string) (int, error) {
	id, err := containerID(pki, server, namespace, pod, container)
	if err != nil {
		return 0, err
	}
	runtime, id, _ := strings.Cut(id, "://")
	var inner int
	switch runtime {
	case "containerd":
		inner, err = containerdPid(space, id)
	case "docker":
		inner, err = dockerPid(space, id)
	case "cri-o":
		inner, err = crioPid(space, id)
	default:
		err = fmt.Errorf("runtime `%s` is none of this cluster's", runtime)
	}
	if err != nil {
		return 0, err
	}
	return outerPid(space, inner, id)
}

// containerID reads `RUNTIME://ID` of a running container from the pod's status.
func containerID(pki, server, namespace, pod, container string) (string, error) {
	client, err := apiClient(pki)
	if err != nil {
		return "", err
	}
	target := fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s",
		server, url.PathEscape(namespace), url.PathEscape(pod))
	type status struct {
		Name        string
		ContainerID string
		State       map[string]json.RawMessage
	}
	var answer struct {
		Status struct {
			InitContainerStatuses      []status
			ContainerStatuses          []status
			EphemeralContainerStatuses []status
		}
	}
	if err := getJSON(client, target, &answer); err != nil {
		return "", fmt.Errorf("read pod `%s/%s`: %w", namespace, pod, err)
	}
	all := append(answer.Status.ContainerStatuses, answer.Status.InitContainerStatuses...)
	for _, s := range append(all, answer.Status.EphemeralContainerStatuses...) {
		if s.Name != container {
			continue
		}
		if _, running := s.State["running"]; !running {
			state, _ := json.Marshal(s.State) // a map of raw JSON always marshals
			return "", fmt.Errorf("container `%s` of pod `%s/%s` is not running: %s", container, namespace, pod, state)
		}
		return s.ContainerID, nil
	}
	return "", fmt.Errorf("pod `%s/%s` has no started container `%s`", namespace, pod, container)
}

func apiClient(pki string) (*http.Client, error) {
	ca, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in `%s/ca.crt`", pki)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	if err != nil {
		return nil, err
	}
	return &http.Client{Timeout: limit, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
	}}, nil
}

// containerdPid reads what the container's shim noted down.
func containerdPid(space int, id string) (int, error) {
	return noted(fmt.Sprintf("/proc/%d/root/run/containerd/io.containerd.runtime.v2.task/k8s.io/%s/init.pid", space, id))
}

// crioPid reads what conmon noted down.
func crioPid(space int, id string) (int, error) {
	return noted(fmt.Sprintf("/proc/%d/root/run/containers/storage/overlay-containers/%s/userdata/pidfile", space, id))
}

func noted(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// dockerPid asks Docker over its socket.
func dockerPid(space int, id string) (int, error) {
	socket := fmt.Sprintf("/proc/%d/root/run/docker.sock", space)
	client := &http.Client{Timeout: limit, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	var answer struct{ State struct{ Pid int } }
	if err := getJSON(client, "http://docker/containers/"+id+"/json", &answer); err != nil {
		return 0, fmt.Errorf("inspect container `%s`: %w", id, err)
	}
	if answer.State.Pid == 0 {
		return 0, fmt.Errorf("container `%s` has no process", id)
	}
	return answer.State.Pid, nil
}

func getJSON(client *http.Client, target string, answer any) error {
	response, err := client.Get(target)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(body))
	}
	return json.Unmarshal(body, answer)
}

// outerPid finds the process that is `inner` in the PID namespace of process `space`: its NSpid line
// lists its id in each namespace from ours inwards, and its cgroup is named after the container.
func outerPid(space, inner int, id string) (int, error) {
	depth, err := nsPids(space)
	if err != nil {
		return 0, err
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, process := range processes {
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil {
			continue
		}
		pids, err := nsPids(pid)
		if err != nil || len(pids) < len(depth) || pids[len(depth)-1] != inner {
			continue // ended meanwhile, or another
		}
		cgroups, err := os.ReadFile(process + "/cgroup")
		if err == nil && bytes.Contains(cgroups, []byte(id)) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("process %d of container `%s` has ended", inner, id)
}

func nsPids(pid int) ([]int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	_, rest, found := strings.Cut(string(text), "\nNSpid:")
	if !found {
		return nil, fmt.Errorf("no NSpid line for process %d", pid)
	}
	line, _, _ := strings.Cut(rest, "\n")
	var pids []int
	for _, field := range strings.Fields(line) {
		value, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		pids = append(pids, value)
	}
	return pids, nil
}
