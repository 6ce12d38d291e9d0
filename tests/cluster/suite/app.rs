//! Workloads to sync into: a Deployment that a case shapes by setting fields of its pod and first container.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    Sandbox,
    container::Container,
    eventually::{LONG, eventually},
};

/// A Deployment to be.
#[derive(Debug, Clone)]
pub(crate) struct App {
    name: String,
    replicas: usize,
    pod: Value,
    /// Where its pods may be.
    nodes: Vec<String>,
}

impl App {
    /// busybox's httpd serving /code, which its command makes, with an `index.html` of its own.
    pub(crate) fn web(sandbox: &Sandbox) -> Self {
        Self::shell(
            sandbox,
            "mkdir -p /code && { [ -e /code/index.html ] || echo from the image >/code/index.html; } && \
             exec httpd -f -p 8080 -h /code",
        )
    }

    /// busybox with nothing at /code.
    pub(crate) fn idle(sandbox: &Sandbox) -> Self {
        Self::shell(sandbox, "exec sleep 1000000")
    }

    /// busybox running a line of shell.
    pub(crate) fn shell(sandbox: &Sandbox, line: &str) -> Self {
        let image = sandbox.cluster().app_image();
        Self::of(sandbox, &json!({ "name": "app", "image": image, "command": ["/bin/sh", "-c", line] }))
    }

    /// One static program that serves `dir`; no shell, no tar, nothing else.
    pub(crate) fn fixed(sandbox: &Sandbox, dir: &str) -> Self {
        Self::of(sandbox, &json!({ "name": "app", "image": "localhost/static:1", "args": [dir, "8080"] }))
    }

    fn of(sandbox: &Sandbox, container: &Value) -> Self {
        let mut app = Self {
            name: "app".to_owned(),
            replicas: 1,
            pod: json!({ "terminationGracePeriodSeconds": 0, "containers": [container] }),
            nodes: sandbox.nodes.iter().map(|node| node.name.clone()).collect(),
        };
        if sandbox.filtered {
            app.pod["containers"][0]["securityContext"] =
                json!({ "seccompProfile": { "type": "RuntimeDefault" } });
        }
        app.pod["containers"][0]["imagePullPolicy"] = sandbox.cluster().pull_policy().into();
        app
    }

    /// Another name, which is its label's value too.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// So many, spread evenly over the nodes that the case runs on.
    pub(crate) fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// One on each of these nodes; two where there is one node.
    pub(crate) fn everywhere(self) -> Self {
        let replicas = self.nodes.len().max(2);
        self.replicas(replicas)
    }

    /// Two on each of these nodes.
    pub(crate) fn twice_everywhere(self) -> Self {
        let replicas = 2 * self.nodes.len();
        self.replicas(replicas)
    }

    /// Sets a field of the pod's spec.
    pub(crate) fn pod(mut self, field: &str, value: Value) -> Self {
        self.pod[field] = value;
        self
    }

    /// Sets a field of the first container.
    pub(crate) fn container(mut self, field: &str, value: Value) -> Self {
        self.pod["containers"][0][field] = value;
        self
    }

    /// A second container `name` like the first, which only sleeps.
    pub(crate) fn beside(mut self, name: &str) -> Self {
        let mut second = self.pod["containers"][0].clone();
        second["name"] = name.into();
        second["command"] = json!(["/bin/sh", "-c", "exec sleep 1000000"]);
        if let Some(containers) = self.pod["containers"].as_array_mut() {
            containers.push(second);
        }
        self
    }

    /// An emptyDir mounted in every container there is so far.
    pub(crate) fn empty_dir(mut self, name: &str, path: &str) -> Self {
        push(&mut self.pod["volumes"], json!({ "name": name, "emptyDir": {} }));
        if let Some(containers) = self.pod["containers"].as_array_mut() {
            for container in containers {
                push(&mut container["volumeMounts"], json!({ "name": name, "mountPath": path }));
            }
        }
        self
    }

    /// A directory of this machine, the same one on all nodes, as storage that many may write is.
    pub(crate) fn host_dir(mut self, from: &Path, path: &str) -> Self {
        let volume = json!({ "name": "host-dir", "hostPath": { "path": from, "type": "DirectoryOrCreate" } });
        push(&mut self.pod["volumes"], volume);
        push(
            &mut self.pod["containers"][0]["volumeMounts"],
            json!({ "name": "host-dir", "mountPath": path }),
        );
        self
    }

    /// An emptyDir in memory that holds no more than `size`.
    pub(crate) fn memory_dir(mut self, name: &str, path: &str, size: &str) -> Self {
        let volume = json!({ "name": name, "emptyDir": { "medium": "Memory", "sizeLimit": size } });
        push(&mut self.pod["volumes"], volume);
        push(&mut self.pod["containers"][0]["volumeMounts"], json!({ "name": name, "mountPath": path }));
        self
    }

    /// One file of a ConfigMap, mounted by itself.
    pub(crate) fn config_file(mut self, config_map: &str, key: &str, path: &str) -> Self {
        push(&mut self.pod["volumes"], json!({ "name": config_map, "configMap": { "name": config_map } }));
        let mount = json!({ "name": config_map, "mountPath": path, "subPath": key });
        push(&mut self.pod["containers"][0]["volumeMounts"], mount);
        self
    }

    /// Debian's Python from the node, in the first container, which then has no volumes but those.
    pub(crate) fn with_python(self) -> Self {
        let mounts = [("/usr", "/usr"), ("/usr/lib", "/lib"), ("/usr/lib64", "/lib64")];
        let mounts = mounts.map(|(from, to)| (from.replace('/', "x"), from, to));
        let volume =
            |(name, from, _): &(String, &str, &str)| json!({ "name": name, "hostPath": { "path": from } });
        let mount =
            |(name, _, to): &(String, &str, &str)| json!({ "name": name, "mountPath": to, "readOnly": true });
        self.pod("volumes", mounts.iter().map(volume).collect())
            .container("volumeMounts", mounts.iter().map(mount).collect())
    }

    fn object(&self, namespace: &str) -> Value {
        let labels = json!({ "app": self.name });
        let mut pod = self.pod.clone();
        // One term for each: a field is compared with one value.
        let node = |name: &String| json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [name] }] });
        let terms: Vec<Value> = self.nodes.iter().map(node).collect();
        pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({ "nodeSelectorTerms": terms });
        pod["topologySpreadConstraints"] = json!([{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": { "matchLabels": labels }, "matchLabelKeys": ["pod-template-hash"],
        }]);
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": self.name, "namespace": namespace, "labels": labels },
            "spec": {
                "replicas": self.replicas,
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        })
    }

    /// Makes one pod of it with this name, by itself, and waits until it runs.
    #[track_caller]
    pub(crate) fn alone(self, sandbox: &Sandbox, pod: &str) -> Container {
        let template = self.object(&sandbox.namespace)["spec"]["template"].clone();
        let mut spec = template["spec"].clone();
        // Those of other pods are no matter.
        spec["topologySpreadConstraints"] = json!([]);
        sandbox.kubectl().apply(&[json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": pod, "namespace": sandbox.namespace, "labels": template["metadata"]["labels"] },
            "spec": spec,
        })]);
        eventually(&format!("pod `{pod}` to run"), LONG, || {
            let pod = sandbox.kubectl().json(&["get", "pod", "-n", &sandbox.namespace, pod])?;
            let mut containers = Container::of_pod(&pod);
            let container = containers.pop().ok_or_else(|| pod["status"].to_string())?;
            sandbox.seen.note(&container.id);
            Ok(container)
        })
    }

    /// Applies it in the sandbox's namespace and waits until it runs.
    #[track_caller]
    pub(crate) fn apply(self, sandbox: &Sandbox) -> Deployed<'_> {
        self.apply_in(sandbox, &sandbox.namespace)
    }

    /// The same in another namespace.
    #[track_caller]
    pub(crate) fn apply_in<'a>(self, sandbox: &'a Sandbox, namespace: &str) -> Deployed<'a> {
        sandbox.kubectl().apply(&[self.object(namespace)]);
        let replicas = AtomicUsize::new(self.replicas);
        let app = Deployed { sandbox, namespace: namespace.to_owned(), name: self.name, replicas };
        app.all();
        app
    }
}

fn push(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(item),
        None => *list = json!([item]),
    }
}

/// A Deployment in the cluster.
pub(crate) struct Deployed<'a> {
    sandbox: &'a Sandbox,
    namespace: String,
    name: String,
    /// As asked for last.
    replicas: AtomicUsize,
}

impl Deployed<'_> {
    /// Containers that run, of pods that are not on their way out, with the number of pods that there are.
    fn containers(&self) -> Result<(Vec<Container>, usize), String> {
        let label = format!("app={}", self.name);
        let pods = self.sandbox.kubectl().json(&["get", "pods", "-n", &self.namespace, "-l", &label])?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let containers: Vec<Container> = pods.iter().flat_map(Container::of_pod).collect();
        for container in &containers {
            self.sandbox.seen.note(&container.id);
        }
        Ok((containers, pods.len()))
    }

    /// Waits until exactly as many pods are there as were asked for and all of them run; their containers.
    #[track_caller]
    pub(crate) fn all(&self) -> Vec<Container> {
        self.all_within(LONG)
    }

    #[track_caller]
    fn all_within(&self, limit: Duration) -> Vec<Container> {
        let replicas = self.replicas.load(Ordering::SeqCst);
        eventually(&format!("{replicas} running pods of `{}`", self.name), limit, || {
            let (containers, pods) = self.containers()?;
            let mut with: Vec<&str> = containers.iter().map(|container| container.pod.as_str()).collect();
            with.dedup();
            if pods == replicas && with.len() == replicas {
                return Ok(containers);
            }
            Err(format!("{pods} pods, running: {with:?}"))
        })
    }

    /// The same when there is one pod with one container.
    #[track_caller]
    pub(crate) fn only(&self) -> Container {
        let mut containers = self.all();
        assert_eq!(containers.len(), 1, "{containers:?}");
        containers.swap_remove(0)
    }

    /// The running container with this id, while it runs.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.containers().is_ok_and(|(containers, _)| containers.iter().any(|container| container.id == id))
    }

    fn object(&self) -> String {
        format!("deployment/{}", self.name)
    }

    #[track_caller]
    pub(crate) fn scale(&self, replicas: usize) -> Vec<Container> {
        self.scale_within(replicas, LONG)
    }

    /// As [`App::everywhere`].
    #[track_caller]
    pub(crate) fn scale_everywhere(&self) -> Vec<Container> {
        self.scale(self.sandbox.nodes.len().max(2))
    }

    /// The same where it takes longer.
    #[track_caller]
    pub(crate) fn scale_within(&self, replicas: usize, limit: Duration) -> Vec<Container> {
        let flag = format!("--replicas={replicas}");
        self.sandbox.kubectl().ok(&["scale", "-n", &self.namespace, &self.object(), &flag]);
        self.replicas.store(replicas, Ordering::SeqCst);
        self.all_within(limit)
    }

    /// A rollout, until the last of the new pods runs and the last of the old ones is gone.
    #[track_caller]
    pub(crate) fn restart(&self) -> Vec<Container> {
        let kubectl = self.sandbox.kubectl();
        kubectl.ok(&["rollout", "restart", "-n", &self.namespace, &self.object()]);
        kubectl.ok(&["rollout", "status", "-n", &self.namespace, &self.object(), "--timeout=60s"]);
        self.all()
    }

    /// All of its containers, when they run and none is one of `before`.
    #[track_caller]
    pub(crate) fn others(&self, before: &[Container]) -> Vec<Container> {
        eventually("other containers", LONG, || {
            let now = self.all();
            let fresh = now.iter().all(|new| before.iter().all(|old| old.id != new.id));
            if fresh { Ok(now) } else { Err(format!("{now:?}")) }
        })
    }

    /// Takes a pod away without any grace; its Deployment makes another one.
    #[track_caller]
    pub(crate) fn kill_pod(&self, pod: &str) {
        self.sandbox.kubectl().ok(&[
            "delete",
            "pod",
            "-n",
            &self.namespace,
            pod,
            "--force",
            "--grace-period=0",
        ]);
    }
}
