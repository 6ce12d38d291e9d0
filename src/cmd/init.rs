//! `init`: syncthing on this machine, radar on every node. Run twice, it changes nothing and says so.

mod install;
mod wait;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use crate::{
    cluster::{self, ClusterArgs, ClusterConfig, manifest},
    home::Home,
    printer::{Printer, UserError},
    release,
};

/// Flags of `init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Use this syncthing (1.27 to 2.x) instead of fetching one
    #[arg(long, value_name = "FILE")]
    syncthing: Option<PathBuf>,
    /// radar's image; without this flag a radar of this version keeps the one that it has
    #[arg(long, value_name = "REFERENCE")]
    image: Option<String>,
    /// When radar's image is pulled; IfNotPresent unless the radar that keeps its image has another
    #[arg(long, value_enum, value_name = "POLICY")]
    image_pull_policy: Option<manifest::PullPolicy>,
    /// A secret in namespace ksync-system to pull radar's image with (may be repeated)
    #[arg(long, value_name = "NAME")]
    image_pull_secret: Vec<String>,
    /// Let this group reach radar, and no others that an earlier init has named (may be repeated)
    #[arg(long, value_name = "GROUP")]
    users: Vec<String>,
    /// Print the rights that syncing takes, as RBAC objects, instead of applying anything
    #[arg(long, conflicts_with_all = ["dry_run", "output"])]
    print_rbac: bool,
    /// How long to wait for radar on all nodes
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = cluster::parse_duration)]
    timeout: Duration,
    /// Change nothing, print what would be applied
    #[arg(long)]
    dry_run: bool,
    /// Print radar's manifest instead of applying it
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
    /// Install this version of radar even where a newer one is
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Output {
    /// The manifest
    Yaml,
}

/// Runs `init`.
pub(crate) async fn run(
    args: Args,
    cluster_args: &ClusterArgs,
    printer: Printer,
) -> anyhow::Result<ExitCode> {
    let wanted = manifest::Wanted {
        image: args.image.clone(),
        pull_policy: args.image_pull_policy,
        pull_secrets: args.image_pull_secret.clone(),
    };
    // What was typed is looked at before anything is done, and is all that a dry run knows.
    let manifest = manifest::render(&wanted.beside(None))?;
    if args.print_rbac {
        printer.raw(&manifest::all_rights(&args.users)?.text);
        return Ok(ExitCode::SUCCESS);
    }
    let rights = if args.users.is_empty() { None } else { Some(manifest::rights(&args.users)?) };
    if args.dry_run || matches!(args.output, Some(Output::Yaml)) {
        printer.raw(&manifest.text);
        if let Some(rights) = rights {
            printer.raw("---\n");
            printer.raw(&rights.text);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let home = Home::from_env()?;
    home.create()?;
    let cluster = ClusterConfig::load(cluster_args).await?;
    let fetched = syncthing(&home, args.syncthing.as_deref(), printer).await?;
    let client = cluster.client().await?;
    wait::namespace_gone(&client, &cluster, args.timeout, printer).await?;
    let mut applied = install::radar(&client, &cluster, &wanted, args.force, printer).await?;
    if let Some(rights) = rights {
        applied |= install::rights(&client, &cluster, &rights, &args.users, printer).await?;
    }
    super::ensure::woken(&home, &cluster).await;
    let nodes = wait::rollout(&client, &cluster, args.timeout, printer).await?;
    if nodes == 0 {
        return Err(
            UserError::new("the cluster has no node that radar runs on", "radar needs a Linux node").into()
        );
    }
    let on = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
    let unchanged = if fetched || applied { "" } else { "; nothing had to be changed" };
    printer.data(format!("radar {} is ready on {on}{unchanged}", manifest::VERSION));
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that the local syncthing is there; tells whether it was put there now.
async fn syncthing(home: &Home, given: Option<&std::path::Path>, printer: Printer) -> anyhow::Result<bool> {
    let place = home.syncthing();
    if let Some(file) = given {
        let same = matches!((std::fs::read(file), std::fs::read(&place)), (Ok(new), Ok(old)) if new == old);
        if same {
            return Ok(false);
        }
        let version = release::install_file(file, &place).await?;
        printer.say(format!("syncthing {version} copied from `{}`", file.display()));
        return Ok(true);
    }
    match release::installed(&place).await {
        Ok(Some(version)) if release::is_supported(&version) => {
            if version.to_string() != release::PINNED {
                printer.say(format!("syncthing {version} is there already"));
            }
            return Ok(false);
        }
        Ok(Some(version)) => printer.warn(format!("syncthing {version} is not supported and is replaced")),
        Ok(None) => {}
        Err(error) => printer.warn(format!("{}; it is replaced", ksync_common::chain(&error))),
    }
    let (mirror, platform) = (release::Mirror::from_env()?, release::Platform::this()?);
    let bar = printer.bar(&format!("fetching syncthing {}", release::PINNED));
    let version =
        release::install(&mirror, platform, &place, &|done, total| bar.advance(done, total)).await?;
    drop(bar);
    printer.say(format!("syncthing {version} fetched, its signature verified"));
    Ok(true)
}
