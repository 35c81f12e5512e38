//! `onehop apiserver`: the embedded Kubernetes API alone.

use std::fs;
use std::process::ExitCode;

use miette::{IntoDiagnostic, Result, WrapErr};
use onehop_apiserver::{ApiServer, Config};
use onehop_harness::control_plane::kubeconfig;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::arguments::ApiserverArguments;
use crate::output::say;
use crate::signals;

pub(crate) fn serve(arguments: &ApiserverArguments) -> Result<ExitCode> {
    let server = ApiServer::new(Config::default()).into_diagnostic()?;
    Runtime::new().into_diagnostic()?.block_on(async {
        let listener = TcpListener::bind(arguments.listen)
            .await
            .into_diagnostic()
            .wrap_err_with(|| format!("failed to listen on {}", arguments.listen))?;
        let url = format!("http://{}", listener.local_addr().into_diagnostic()?);
        if let Some(path) = &arguments.kubeconfig {
            fs::write(path, kubeconfig(&url, None))
                .into_diagnostic()
                .wrap_err_with(|| format!("failed to write {}", path.display()))?;
        }
        let ends = signals::asked_to_end().into_diagnostic()?;
        say!("serving the Kubernetes API at {url}; interrupt to end");
        tokio::select! {
            served = server.serve(listener) => served.into_diagnostic()?,
            () = ends => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}
