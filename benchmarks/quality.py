"""How even acquisitions come out, and how true: uncorrected, the reference recipe, ANTs, BaSiC, this pipeline.

Usage: .venv/bin/python benchmarks/quality.py [--data ../shared/data] [--variants serial_oct ...] [--full] [--quick]
       .venv/bin/python -m benchmarks.quality --case usual_decay --phantom even_brain [--methods "this pipeline"]

Prints Markdown tables: real anatomy imaged on paper, the prism phantoms, both against their known field, and the two
real volumes. ANTs needs the package antspyx, BaSiC basicpy (or basicpy-uncapped); a method that is not installed is
named and left out. `--full` runs our method on the prisms' full-size volumes too; `--quick` leaves out the slow methods
(SimpleITK, ANTs). `--case` prints the named cases of real anatomy only, `--seed` draws them anew, `--damaged` adds the
damaged ones.
"""

import argparse
import itertools
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from linumpy.intensity.bias_field import compute_tissue_mask, n4_correct
from linumpy.intensity.sections import section_bounds
from linumpy.io.ome_zarr import open_image
from linumpy.qc.evenness import evenness, slow_correlation
from linumpy.qc.phantom import phantom_scores
from linumpy.qc.truth import score
from linumpy.simulate import CASES, DAMAGED, VARIANTS, case, simulate_acquisition
from linumpy.simulate.cases import VOLUMES
from linumpy.stage.local import CorrectionParameters, correct_array

SHAPE, SECTIONS, VOXEL_UM = (96, 150, 170), 6, (10.0, 40.0, 40.0)
SLOW = ("reference recipe, SimpleITK", "ANTs N4, its defaults")
CORTEX_FOOTPRINT = 91  # the data's README: plane medians over pixels whose median along Z exceeds it


def uncorrected(volume, sections, voxel_size_mm):
    """Return the volume as it is."""
    return volume.astype(np.float32)


def reference(volume, sections, voxel_size_mm, backend="cpu"):
    """Linear Otsu, shrink 4, 2 mm per section, then 10 mm over the stack, four levels of 50 iterations."""
    return correct_array(volume, sections, voxel_size_mm, CorrectionParameters.reference(backend=backend)).corrected


def reference_native(volume, sections, voxel_size_mm):
    """Do the same with this project's solver."""
    return reference(volume, sections, voxel_size_mm, "native")


def single_n4(volume, sections, voxel_size_mm):
    """One N4 over the whole stack, as it is used on a brain scan; this project's solver, shrink 4, 10 mm."""
    mask = compute_tissue_mask(volume, n_serial_slices=sections, method="robust")
    return n4_correct(volume, mask, shrink_factor=(1, 4, 4), voxel_size_mm=voxel_size_mm, backend="native")[0]


def ants_n4(volume, sections, voxel_size_mm):
    """ANTs' N4 per section, then over the stack, with its default shrink factor, levels and spline distance."""
    import ants

    mask = compute_tissue_mask(volume, n_serial_slices=sections, method="robust")
    corrected = volume.astype(np.float32)
    for z_start, z_stop in [*section_bounds(len(volume), sections), (0, len(volume))]:
        planes = slice(z_start, z_stop)
        if z_stop - z_start < 2 or not mask[planes].any():  # its B-spline needs a third dimension
            continue
        image, inside = (
            ants.from_numpy(np.ascontiguousarray(array[planes].astype(np.float32).T), spacing=voxel_size_mm[::-1])
            for array in (corrected, mask)
        )
        result = ants.n4_bias_field_correction(image, mask=inside)
        corrected[planes] = result.numpy().T
    return corrected


def basic(volume, sections, voxel_size_mm):
    """BaSiC: one flat field for all planes and a baseline for each."""
    from basicpy import BaSiC

    model = BaSiC(get_darkfield=False)
    corrected = model.fit_transform(volume.astype(np.float32))
    baseline = np.asarray(model.baseline, np.float32).reshape(-1, 1, 1)
    return np.asarray(corrected, np.float32) / np.maximum(baseline, 1e-6) * np.median(baseline)


def ours(volume, sections, voxel_size_mm):
    """Take the pipeline's defaults."""
    return correct_array(volume, sections, voxel_size_mm).corrected


METHODS: dict[str, Callable] = {
    "uncorrected": uncorrected,
    "reference recipe, SimpleITK": reference,
    "reference recipe, native": reference_native,
    "one N4 over the stack": single_n4,
    "ANTs N4, its defaults": ants_n4,
    "BaSiC": basic,
    "this pipeline": ours,
}


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--case", nargs="+", choices=[*CASES, *DAMAGED], metavar="NAME", help="of real anatomy, alone")
    parser.add_argument("--phantom", nargs="+", default=list(VOLUMES), choices=VOLUMES, help="which anatomy")
    parser.add_argument("--seed", nargs="+", type=int, default=[0], help="of the cases; 0 is for tuning")
    parser.add_argument("--damaged", action="store_true", help="the damaged cases as well")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--full", action="store_true", help="our method on 160 x 300 x 340 voxels as well")
    parser.add_argument("--quick", action="store_true", help="leave out the slow methods")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # empty sections are part of the test
    methods = {name: METHODS[name] for name in args.methods if not (args.quick and name in SLOW)}
    for package, name in (("ants", "ANTs N4, its defaults"), ("basicpy", "BaSiC")):
        try:
            __import__(package)
        except ImportError:
            if methods.pop(name, None):
                print(f"{name} is left out: the package {package} is not installed.\n")
    names = args.case or [*CASES, *(DAMAGED if args.damaged else ())]
    real_anatomy(names, args.phantom, args.seed, methods, args.data / "even_brain.ome.zarr")
    if args.case:
        return
    phantoms(args.variants, methods, {"shape": SHAPE, "sections": SECTIONS, "voxel_size_um": VOXEL_UM})
    if args.full:
        phantoms(args.variants, {"this pipeline": ours}, {})
    if args.data.is_dir():
        cortex(args.data / "cortex_3sections.ome.zarr", methods)
        hemisphere(args.data / "hemisphere_176sections.ome.zarr", methods)


def real_anatomy(names, volumes, seeds, methods, even_brain):
    """Print the table of real anatomy imaged on paper."""
    if "even_brain" in volumes and not even_brain.is_dir():
        print(f"even_brain is left out: {even_brain} does not exist.\n")
        volumes = [volume for volume in volumes if volume != "even_brain"]
    print("### Real anatomy, imaged on paper\n")
    print(
        "| volume | case | seed | method | rms | along Z | xy | contrast | steps, worst and median "
        "| CV inside, worst and median | worst plane | worst section | largest gain | s |\n|" + "---|" * 14
    )
    for volume, name, seed in itertools.product(volumes, names, seeds):
        acquisition = case(name, volume, seed=seed, even_brain=even_brain)
        for method_name, method in methods.items():
            started = time.perf_counter()
            corrected = method(acquisition.volume, acquisition.sections, acquisition.voxel_size_mm)
            seconds = time.perf_counter() - started
            found = score(corrected, acquisition)
            print(
                f"| {volume} | {name} | {seed} | {method_name} | {found.rms:.3f} | {number(found.along_z, '.3f')} "
                f"| {found.xy:.3f} | {found.contrast:.3f} "
                f"| {number(found.step_worst, '.1%')}, {number(found.step_median, '.1%')} "
                f"| {number(found.cv_worst, '.1%')}, {number(found.cv_median, '.1%')} "
                f"| {number(found.plane_worst, '.1%')} ({found.plane_at}) "
                f"| {number(found.section_worst, '.1%')} ({found.section_at}) "
                f"| {found.largest_gain:.2f} | {seconds:.1f} |",
                flush=True,
            )
    print()


def phantoms(variants, methods, size):
    """Print the table of simulated acquisitions."""
    print(f"### Simulated acquisitions {size or 'of full size'}\n")
    print(
        "| variant | method | RMS error of the log field | correlation | field, 1st to 99th percentile "
        "| contrast white, nuclei | class means off | steps off | CV within | s |\n|" + "---|" * 10
    )
    for variant in variants:
        acquisition = simulate_acquisition(variant=variant, **size)
        for name, method in methods.items():
            started = time.perf_counter()
            corrected = method(acquisition.volume, len(acquisition.sections), acquisition.voxel_size_mm)
            seconds = time.perf_counter() - started
            score = phantom_scores(corrected, acquisition)
            print(
                f"| {variant} | {name} | {score.rms_error:.4f} | {number(score.correlation, '.3f')} "
                f"| {score.field_low:.3f} to {score.field_high:.3f} "
                f"| {number(score.contrast_white, '.3f')}, {number(score.contrast_nuclei, '.3f')} "
                f"| {number(score.class_deviation, '.1%')} | {number(score.step_deviation, '.1%')} "
                f"| {number(score.cv_within, '.1%')} | {seconds:.1f} |",
                flush=True,
            )
    print()


def cortex(path, methods):
    """Print the table of the cortex volume, measured as its description does."""
    volume, voxel_size_mm = read(path)
    tissue = np.median(volume, axis=0) > CORTEX_FOOTPRINT
    print(
        "### cortex_3sections\n\n| method | steps | CV inside a section | over all planes | s |\n|---|---|---|---|---|"
    )
    for name, method in methods.items():
        started = time.perf_counter()
        medians = np.median(method(volume, 3, voxel_size_mm)[:, tissue], axis=1)
        seconds = time.perf_counter() - started
        inside = np.mean([medians[z : z + 10].std() / medians[z : z + 10].mean() for z in (0, 10, 20)])
        steps = ", ".join(f"{medians[z] / medians[z - 1]:.3f}" for z in (10, 20))
        print(f"| {name} | {steps} | {inside:.1%} | {medians.std() / medians.mean():.1%} | {seconds:.1f} |", flush=True)
    print()


def hemisphere(path, methods):
    """Print the table of the hemisphere."""
    volume, voxel_size_mm = read(path)
    sections = section_bounds(len(volume), len(volume))
    mask = compute_tissue_mask(volume, n_serial_slices=len(volume), method="robust")
    before = evenness(volume.astype(np.float32), mask, sections)
    print("### hemisphere_176sections\n")
    print(
        "| method | jump, median | jump, 95th percentile | contrast within planes | slow profile | s |\n|" + "---|" * 6
    )
    for name, method in methods.items():
        started = time.perf_counter()
        after = evenness(method(volume, len(volume), voxel_size_mm), mask, sections)
        seconds = time.perf_counter() - started
        print(
            f"| {name} | {after.jump_median:.2%} | {after.jump_p95:.1%} | {after.contrast / before.contrast - 1:+.1%} "
            f"| {slow_correlation(before.profile, after.profile):.3f} | {seconds:.1f} |",
            flush=True,
        )
    print()


def read(path):
    """Return a volume and its voxel size in mm."""
    image = open_image(path)
    return image.read(0, image.shape[0]), image.voxel_size_mm


def number(value, form):
    """Return a number as text, or a dash."""
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    main()
