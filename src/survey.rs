//! `onehop survey`: what Local traffic policies do in a cluster that is there.

mod text;

use std::process::ExitCode;
use std::time::Duration;

use miette::{IntoDiagnostic, Result, miette};
use onehop_harness::cluster::client;
use onehop_harness::error::chain;
use onehop_harness::survey::{Survey, SurveyOptions, look};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::arguments::{Format, SurveyArguments};
use crate::{context, output, signals};

/// The schema of `--format json`.
const SCHEMA: &str = "onehop.survey/v1";

pub(crate) fn survey(arguments: &SurveyArguments) -> Result<ExitCode> {
    let context = context::named(
        arguments.context.as_deref(),
        arguments.kubeconfig.as_deref(),
    )?;
    let patience = Duration::from_secs(arguments.timeout_seconds);
    let options = SurveyOptions {
        namespace: arguments.namespace.clone(),
        health_within: (!arguments.no_probe).then_some(patience),
    };
    let runtime = Runtime::new().into_diagnostic()?;
    let survey = runtime.block_on(async {
        let interrupted = signals::asked_to_end().into_diagnostic()?;
        let looked = async {
            let kubeconfig = arguments.kubeconfig.as_deref();
            let client = client(kubeconfig, context).await.into_diagnostic()?;
            let looked = look(&client, &options).await;
            looked.map_err(|error| miette!("context `{context}`: {}", chain(&error)))
        };
        tokio::select! {
            survey = looked => survey,
            () = interrupted => Err(miette!("interrupted")),
        }
    });
    // Name resolution and credential plugins wait on threads of their own, which need not be waited for.
    runtime.shutdown_background();
    let survey = survey?;
    let text = match arguments.format {
        Format::Json => format!("{:#}\n", document(&survey, context, &options)?),
        Format::Text => text::render(&survey, context, &options),
    };
    output::print(&text)
}

fn document(survey: &Survey, context: &str, options: &SurveyOptions) -> Result<Value> {
    let mut document = json!({
        "schema": SCHEMA,
        "tool_version": env!("CARGO_PKG_VERSION"),
        "context": context,
        "namespace": options.namespace,
        "probed": options.health_within.is_some(),
    });
    let survey = serde_json::to_value(survey).into_diagnostic()?;
    for (field, value) in survey.as_object().into_iter().flatten() {
        document[field] = value.clone();
    }
    Ok(document)
}
