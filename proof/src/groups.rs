//! Whether a control group is a pod's.

/// What kubelet's control group is called, whichever driver makes it: `kubepods`, `kubepods.slice`, `kubepods-burstable.slice`.
const PODS: &str = "kubepods";

/// Whether a process is outside of every pod's control groups. `groups` are its lines in `/proc/PID/cgroup`, `first` those of
/// process 1, both as one and the same reader sees them.
///
/// A reader in a control group namespace of its own sees paths from its own group on: `/..` for its parent. It is in a pod
/// itself, so whoever has fewer steps up than process 1 shares a group with it that may be kubelet's.
pub(crate) fn outside_of_pods(groups: &str, first: &str) -> bool {
    let paths = |text: &str| -> Vec<(String, String)> {
        let fields = text.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
        });
        fields.collect()
    };
    let up = |path: &str| path.split('/').filter(|part| *part == "..").count();
    let first = paths(first);
    let of = paths(groups);
    !of.is_empty()
        && of.iter().all(|(hierarchy, path)| {
            let top = first.iter().find(|(other, _)| other == hierarchy).map(|(_, path)| up(path));
            !path.contains(PODS) && top.is_some_and(|top| up(path) >= top)
        })
}

#[cfg(test)]
mod tests {
    use super::outside_of_pods;

    #[test]
    fn a_runtimes_process_is_outside_and_a_pods_is_not() {
        // Of a reader that sees the whole tree.
        let first = "0::/init.scope\n";
        assert!(outside_of_pods("0::/system.slice/containerd.service\n", first));
        for pod in [
            "/kubepods/burstable/podX/Y",
            "/kubepods.slice/kubepods-podX.slice/cri-containerd-Y.scope",
            "/a/kubepods/z",
        ] {
            assert!(!outside_of_pods(&format!("0::{pod}\n"), first), "{pod}");
        }
        // Of a reader in a container's own view: here and there it sees no more of kubelet's group than a step up.
        let first = "0::/../../../../init.scope\n";
        assert!(outside_of_pods("0::/../../../../system.slice/containerd.service\n", first));
        for pod in
            ["/", "/..", "/../Y", "/../../podX/Y", "/../../../kubepods-podX.slice/Y", "/../../../podX/Y"]
        {
            assert!(!outside_of_pods(&format!("0::{pod}\n"), first), "{pod}");
        }
        // Several hierarchies: one that is a pod's is enough, and one that process 1 has not is not known.
        let first = "2:cpu:/\n1:name=systemd:/\n";
        assert!(outside_of_pods("2:cpu:/a\n1:name=systemd:/b\n", first));
        assert!(!outside_of_pods("2:cpu:/a\n1:name=systemd:/kubepods/b\n", first));
        assert!(!outside_of_pods("3:pids:/a\n", first) && !outside_of_pods("", first));
    }

    #[test]
    fn whoever_is_in_a_pod_stays_there_whatever_stands_around_it() {
        let first = "2:cpu:/\n1:name=systemd:/\n0::/init.scope\n";
        let samples = [first, "0::/system.slice/containerd.service\n", "0::/../../x\n"];
        ksync_mangle::each_text(&samples, |text| {
            let _ = outside_of_pods(text, first);
            let _ = outside_of_pods(first, text);
            let lines = format!("{text}\n2:cpu:/kubepods/x\n");
            assert!(!outside_of_pods(&lines, first), "{text}");
        });
    }
}
