//! `onehop image`: this program as an image, for clusters that cannot be given one otherwise.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::process::ExitCode;

use miette::{IntoDiagnostic, Result, WrapErr, miette};
use onehop_harness::image::Image;

use crate::arguments::ImageArguments;
use crate::output::say;

pub(crate) fn image(arguments: &ImageArguments) -> Result<ExitCode> {
    let image = Image::of_this_program().into_diagnostic();
    let image = image.wrap_err("failed to make an image of this program")?;
    if arguments.name {
        say!("{}", image.name());
        return Ok(ExitCode::SUCCESS);
    }
    match &arguments.output {
        Some(path) => {
            let failed = || format!("failed to write {}", path.display());
            let file = File::create(path).into_diagnostic().wrap_err_with(failed)?;
            write(&image, file).wrap_err_with(failed)?;
        }
        None if io::stdout().is_terminal() => {
            let help = "onehop image | docker import --change 'ENTRYPOINT [\"/onehop\"]' \
                        --change 'ENV LD_LIBRARY_PATH=/lib' - $(onehop image --name)";
            return Err(miette!(help = help, "an archive is nothing for a terminal"));
        }
        None => write(&image, io::stdout().lock())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(image: &Image, to: impl Write) -> Result<()> {
    let mut to = BufWriter::new(to);
    image
        .write(&mut to)
        .and_then(|()| to.flush())
        .into_diagnostic()
}
