//! The kubeconfig files and what is chosen from them, as client-go does it: a list whose missing files are passed over,
//! the first to say something wins.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::ByteString;
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{args::ClusterArgs, error::Error};

/// The files that exist, absolute, in order.
pub(super) fn paths(
    given: Option<&Path>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<PathBuf>, Error> {
    let looked_at: Vec<PathBuf> = match (given, env("KUBECONFIG"), env("HOME")) {
        (Some(file), _, _) => vec![file.to_owned()],
        (None, Some(list), _) => {
            std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect()
        }
        (None, None, home) => vec![PathBuf::from(home.unwrap_or_default()).join(".kube/config")],
    };
    let looked_at: Vec<PathBuf> =
        looked_at.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect();
    let found: Vec<PathBuf> = looked_at.iter().filter(|path| path.exists()).cloned().collect();
    if found.is_empty() { Err(Error::NoKubeconfig { looked_at }) } else { Ok(found) }
}

/// Reads and merges them.
pub(super) fn read(paths: &[PathBuf]) -> Result<Kubeconfig, Error> {
    let mut merged = Kubeconfig::default();
    for path in paths {
        let next =
            Kubeconfig::read_from(path).map_err(|source| Error::Kubeconfig { path: path.clone(), source })?;
        merged = merged.merge(next).map_err(|source| Error::Merge { path: path.clone(), source })?;
    }
    Ok(merged)
}

/// What one context names, overrides applied.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) context_name: String,
    pub(super) cluster_name: String,
    pub(super) cluster: Cluster,
    pub(super) user: AuthInfo,
    pub(super) namespace: Option<String>,
}

pub(super) fn choose(kubeconfig: Kubeconfig, args: &ClusterArgs) -> Result<Chosen, Error> {
    let existing = || kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let name =
        args.context.clone().or_else(|| kubeconfig.current_context.clone()).filter(|name| !name.is_empty());
    let context_name = name.ok_or_else(|| Error::NoContext { existing: existing() })?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == context_name);
    let context = context
        .and_then(|context| context.context.clone())
        .ok_or_else(|| Error::UnknownContext { name: context_name.clone(), existing: existing() })?;
    let cluster_name = args.cluster.clone().unwrap_or(context.cluster);
    let cluster = kubeconfig.clusters.into_iter().find(|cluster| cluster.name == cluster_name);
    let cluster = cluster
        .and_then(|cluster| cluster.cluster)
        .ok_or_else(|| Error::UnknownCluster { name: cluster_name.clone() })?;
    let user_name = args.user.clone().or(context.user).filter(|name| !name.is_empty());
    let mut user = match user_name {
        None => AuthInfo::default(),
        Some(name) => {
            let user = kubeconfig.auth_infos.into_iter().find(|user| user.name == name);
            match (user, &args.user) {
                (Some(user), _) => user.auth_info.unwrap_or_default(),
                // client-go takes a context's missing user for nobody; one that was asked for by name must be there.
                (None, None) => AuthInfo::default(),
                (None, Some(_)) => return Err(Error::UnknownUser { name }),
            }
        }
    };
    if let Some(exec) = &mut user.exec
        && exec.provide_cluster_info
    {
        let info = (&cluster).try_into().map_err(|e: kube::config::KubeconfigError| Error::Value {
            what: "what the credential plugin is told",
            cluster: cluster_name.clone(),
            reason: e.to_string(),
        })?;
        exec.cluster = Some(info);
    }
    Ok(Chosen { context_name, cluster_name, cluster, user, namespace: context.namespace })
}

/// The certificates that the server's is checked against; `None` where the system's are.
pub(super) fn authority(cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>, String> {
    let pem = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(data), _) if !data.is_empty() => {
            let decoded: ByteString =
                serde_json::from_value(data.clone().into()).map_err(|_| "it is not base64")?;
            decoded.0
        }
        (_, Some(file)) if !file.is_empty() => fs::read(file).map_err(|e| format!("`{file}`: {e}"))?,
        _ => return Ok(None),
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem)
        .map(|found| found.map(|certificate| certificate.to_vec()))
        .collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(Some(certificates)),
        _ => Err("it is not a list of PEM certificates".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, fs, path::PathBuf};

    use kube::config::Cluster;

    use super::{Error, authority, paths, read};

    #[test]
    fn missing_files_of_a_list_are_passed_over_and_the_first_wins() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&a, "current-context: a\n").unwrap();
        fs::write(&b, "current-context: b\ncontexts:\n- name: c\n  context: {cluster: x}\n").unwrap();
        let list =
            std::env::join_paths([dir.path().join("none"), PathBuf::new(), a.clone(), b.clone()]).unwrap();
        let found = paths(None, |name| (name == "KUBECONFIG").then(|| list.clone())).unwrap();
        assert_eq!(found, [a, b.clone()]);
        let merged = read(&found).unwrap();
        assert_eq!((merged.current_context.as_deref(), merged.contexts.len()), (Some("a"), 1));
        assert_eq!(paths(Some(&b), |_| Some(OsString::from("/elsewhere"))).unwrap(), [b]);
    }

    #[test]
    fn no_file_tells_where_it_was_looked_for() {
        let error = paths(None, |name| (name == "HOME").then(|| "/nowhere".into())).unwrap_err();
        assert_eq!(error.to_string(), "there is no kubeconfig: none of `/nowhere/.kube/config` exists");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("bad"), "a: [").unwrap();
        assert!(matches!(read(&[dir.path().join("bad")]), Err(Error::Kubeconfig { .. })));
    }

    #[test]
    fn an_authority_is_read_from_data_or_a_file() {
        let pem = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap().cert.pem();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &pem).unwrap();
        let data = serde_json::to_value(k8s_openapi::ByteString(pem.into_bytes())).unwrap();
        let by_data =
            Cluster { certificate_authority_data: data.as_str().map(str::to_owned), ..Cluster::default() };
        let by_file =
            Cluster { certificate_authority: file.path().to_str().map(str::to_owned), ..Cluster::default() };
        assert_eq!(authority(&by_data).unwrap().unwrap(), authority(&by_file).unwrap().unwrap());
        assert_eq!(authority(&Cluster::default()).unwrap(), None);
        let broken = Cluster { certificate_authority_data: Some("!".into()), ..Cluster::default() };
        assert!(authority(&broken).is_err());
    }
}
