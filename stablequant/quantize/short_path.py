"""The short way to the bundle: ``OUT/bundle``, a link to ``OUT/results/MODEL/bundle``."""

from pathlib import Path

BUNDLE = "bundle"


def bundle_to_name(out: Path, model: str) -> Path:
    """The path of the bundle of ``model`` that people are told: ``out/bundle`` if that link can be made.

    The link is only there while one model has results in ``out``: with several nobody could say which it means. What
    already lies there and is no link to a bundle of ``out`` stays as it is.
    """
    bundle = out / "results" / model / BUNDLE
    link, target = out / BUNDLE, Path("results", model, BUNDLE)
    ours = link.is_symlink() and link.readlink().match(f"results/*/{BUNDLE}")
    if (link.exists() or link.is_symlink()) and not ours:
        return bundle
    several = len(list(out.glob(f"results/*/{BUNDLE}"))) > 1
    try:
        if ours and (several or link.readlink() != target):
            link.unlink()
        if several:
            return bundle
        if not link.is_symlink():
            link.symlink_to(target, target_is_directory=True)
    except OSError:  # a file system without links, or one that cannot be written
        return bundle
    return link
