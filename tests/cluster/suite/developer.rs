//! Somebody with the rights that the README asks for and no others, whose credentials a case hands out and takes back.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd,
};
use serde_json::{Value, json};

use super::{Sandbox, run::SYSTEM};

/// A user or service account of one sandbox; its rights go with it.
pub(crate) struct Developer<'a> {
    sandbox: &'a Sandbox,
    /// The service account's name, or the user's.
    pub(crate) name: String,
    role: String,
}

impl<'a> Developer<'a> {
    /// A service account of the sandbox's namespace.
    pub(crate) fn account(sandbox: &'a Sandbox) -> Self {
        let name = "dev".to_owned();
        sandbox.kubectl().ok(&["create", "serviceaccount", "-n", &sandbox.namespace, &name]);
        let subject = json!({ "kind": "ServiceAccount", "name": name, "namespace": sandbox.namespace });
        Self::with_rights(sandbox, name, &subject)
    }

    /// A user of that name, whoever vouches for it.
    pub(crate) fn user(sandbox: &'a Sandbox, name: &str) -> Self {
        let subject = json!({ "kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io" });
        Self::with_rights(sandbox, name.to_owned(), &subject)
    }

    /// A service account with Kubernetes' own role `edit` in the sandbox's namespace, and no other right.
    pub(crate) fn editor(sandbox: &'a Sandbox) -> Self {
        let (namespace, name) = (&sandbox.namespace, "dev".to_owned());
        sandbox.kubectl().ok(&["create", "serviceaccount", "-n", namespace, &name]);
        let account = format!("--serviceaccount={namespace}:{name}");
        let role = format!("{namespace}-developer");
        sandbox.kubectl().ok(&[
            "create",
            "rolebinding",
            "-n",
            namespace,
            &role,
            "--clusterrole=edit",
            &account,
        ]);
        Self { sandbox, name, role }
    }

    /// A service account that may do all this but exec into pods.
    pub(crate) fn without_exec(sandbox: &'a Sandbox) -> Self {
        let developer = Self::account(sandbox);
        let rule = json!([{ "op": "remove", "path": "/rules/1" }]).to_string();
        let role = ["patch", "role", "-n", &sandbox.namespace, &developer.role, "--type=json", "-p", &rule];
        sandbox.kubectl().ok(&role);
        developer
    }

    fn with_rights(sandbox: &'a Sandbox, name: String, subject: &Value) -> Self {
        let role = format!("{}-developer", sandbox.namespace);
        let rights = |namespace: &str, rules: Value| {
            let metadata = json!({ "name": role, "namespace": namespace });
            [
                json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                    "metadata": metadata, "rules": rules,
                }),
                json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role },
                    "subjects": [subject],
                }),
            ]
        };
        let own = rights(
            &sandbox.namespace,
            json!([
                { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"] },
                { "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"] },
            ]),
        );
        let system = rights(
            SYSTEM,
            json!([
                { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] },
                { "apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"] },
            ]),
        );
        sandbox.kubectl().apply(&[own, system].concat());
        Self { sandbox, name, role }
    }

    /// A kubeconfig with a token of this service account.
    pub(crate) fn with_token(&self) -> PathBuf {
        let token =
            self.sandbox.kubectl().ok(&["create", "token", "-n", &self.sandbox.namespace, &self.name]);
        self.kubeconfig(&[&format!("--token={}", token.trim())])
    }

    /// A kubeconfig whose user is what `kubectl config set-credentials` makes of `flags`.
    pub(crate) fn kubeconfig(&self, flags: &[&str]) -> PathBuf {
        self.sandbox.kubeconfig(&[
            &[&["set-credentials", "developer"], flags].concat(),
            &["set-context", "--current", "--user=developer"],
        ])
    }

    /// A client certificate and its key, in the files `client.crt` and `client.key` of the sandbox's scratch directory. What
    /// was in them is replaced at once.
    pub(crate) fn certificate(&self, life: Duration) -> (PathBuf, PathBuf) {
        let authority = self.sandbox.cluster().authority_key().expect("the authority's key");
        let named = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let authority = KeyPair::from_pem(&authority).expect("a key");
        let authority = Issuer::new(named("ksync-test-ca"), authority);
        let key = KeyPair::generate().expect("a key");
        let mut params = named(&self.name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
        params.not_after = date_time_ymd(1970, 1, 1) + now + life;
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        let files = [("client.crt", certificate.pem()), ("client.key", key.serialize_pem())];
        let [certificate, key] = files.map(|(name, pem)| {
            let (place, new) = (self.sandbox.scratch(name), self.sandbox.scratch("client.new"));
            fs::write(&new, pem).expect("write");
            fs::rename(&new, &place).expect("rename");
            place
        });
        (certificate, key)
    }

    /// A kubeconfig whose credential plugin first does `lines` of shell, in a directory of its own, and then gives a
    /// token. It says that it holds for 20 seconds, and the token before the last one is taken back. Each call adds a
    /// line to `calls`.
    pub(crate) fn plugin(&self, lines: &str) -> (PathBuf, Plugin) {
        let dir = self.sandbox.scratch("plugin");
        fs::create_dir(&dir).expect("mkdir");
        let kubectl = self.sandbox.kubectl();
        let (program, config) = (kubectl.program.display(), kubectl.kubeconfig.display());
        let (namespace, name, cache) = (&self.sandbox.namespace, &self.name, kubectl.cache.display());
        let script = format!(
            "#!/bin/sh\n\
             set -e\n\
             cd '{}'\n\
             {lines}\n\
             echo called >>calls\n\
             n=$(wc -l <calls)\n\
             k() {{ KUBECACHEDIR='{cache}' '{program}' --kubeconfig='{config}' -n {namespace} \"$@\"; }}\n\
             k create secret generic token-$n >/dev/null\n\
             token=$(k create token {name} --bound-object-kind=Secret --bound-object-name=token-$n)\n\
             k delete secret token-$((n - 2)) --ignore-not-found --wait=false >/dev/null\n\
             printf '{{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\", '\n\
             printf '\"status\": {{\"token\": \"%s\", \"expirationTimestamp\": \"%s\"}}}}' \
             \"$token\" \"$(date -u -d '+20 seconds' +%FT%TZ)\"\n",
            dir.display()
        );
        let file = dir.join("plugin");
        fs::write(&file, script).expect("write");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
        let command = format!("--exec-command={}", file.display());
        let config = self.kubeconfig(&[
            &command,
            "--exec-api-version=client.authentication.k8s.io/v1",
            "--exec-interactive-mode=IfAvailable",
        ]);
        (config, Plugin { dir })
    }
}

impl Drop for Developer<'_> {
    fn drop(&mut self) {
        let delete = ["delete", "role,rolebinding", "-n", SYSTEM, "--ignore-not-found", &self.role];
        let said = self.sandbox.kubectl().try_ok(&delete);
        if let Err(said) = said {
            eprintln!("rights are left behind: {said}");
        }
    }
}

/// A credential plugin at work.
pub(crate) struct Plugin {
    dir: PathBuf,
}

impl Plugin {
    /// A file in its directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The program.
    pub(crate) fn program(&self) -> String {
        self.file("plugin").display().to_string()
    }

    /// How many tokens it gave.
    pub(crate) fn calls(&self) -> usize {
        fs::read_to_string(self.file("calls")).map_or(0, |text| text.lines().count())
    }
}
