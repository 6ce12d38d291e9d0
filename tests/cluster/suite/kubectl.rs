//! kubectl on the cluster at hand.

use std::path::PathBuf;

use serde_json::Value;

use super::shell::{self, Output};

/// kubectl with its kubeconfig.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    /// Where it keeps what it learned of the API.
    pub(crate) cache: PathBuf,
}

impl Kubectl {
    pub(crate) fn run(&self, args: &[&str], input: Option<&[u8]>) -> Output {
        let mut command = shell::command(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", &self.cache).args(args);
        shell::run(&mut command, input)
    }

    /// Stdout, or everything it said.
    pub(crate) fn try_ok(&self, args: &[&str]) -> Result<String, String> {
        self.run(args, None).ok().map_err(|said| format!("kubectl {}: {said}", args.join(" ")))
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.try_ok(args).unwrap_or_else(|said| panic!("{said}"))
    }

    /// The answer to a `get`.
    pub(crate) fn json(&self, args: &[&str]) -> Result<Value, String> {
        let text = self.try_ok(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).map_err(|error| format!("kubectl {}: {error}", args.join(" ")))
    }

    /// Applies objects.
    #[track_caller]
    pub(crate) fn apply(&self, objects: &[Value]) {
        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let output = self.run(&["apply", "-f", "-"], Some(list.to_string().as_bytes()));
        output.ok().unwrap_or_else(|said| panic!("kubectl apply: {said}"));
    }
}
