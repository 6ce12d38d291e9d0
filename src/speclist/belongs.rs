//! Whose a spec is: a watcher runs it only in the cluster that it was made for.

/// Which cluster a watcher serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// The kubeconfig context's name.
    pub context: String,
    /// Hash of the cluster's identity.
    pub hash: String,
}

/// What is to become of a spec in this watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Belongs {
    Here,
    Elsewhere,
    /// Its name says here and its stamp or pin says elsewhere; a sentence.
    Neither(String),
    /// Its pin can't be read or written, so nobody may begin it; a sentence.
    Unknown(String),
}

/// Whether a spec of `context` (empty: of any) with the cluster stamp `stamp` belongs to `cluster`.
pub(super) fn belongs(cluster: &Cluster, context: &str, stamp: &str) -> Belongs {
    match (context == cluster.context, stamp == cluster.hash) {
        (_, true) if context.is_empty() => Belongs::Here,
        (true, true) => Belongs::Here,
        (true, false) => Belongs::Neither(format!(
            "context `{context}` now points to another cluster than the one this spec was made for; delete the spec \
             and create it again to use it there"
        )),
        (false, _) => Belongs::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::{Belongs, Cluster, belongs};

    #[test]
    fn a_spec_runs_only_where_it_belongs() {
        let here = Cluster { context: "dev".into(), hash: "1".into() };
        assert_eq!(belongs(&here, "dev", "1"), Belongs::Here);
        assert_eq!(belongs(&here, "prod", "1"), Belongs::Elsewhere);
        assert_eq!(belongs(&here, "", "1"), Belongs::Here);
        assert_eq!(belongs(&here, "", "2"), Belongs::Elsewhere);
        assert!(matches!(belongs(&here, "dev", "2"), Belongs::Neither(_)));
    }
}
