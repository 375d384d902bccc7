"""Packaging of WBSR: the command `wbsr` and the plugin packages for BasicSR, with the option files and the weights."""

import ast
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
ONNX = ["onnx", "onnxscript"]  # which torch's ONNX exporter builds on


def version() -> str:
    """`wbsr.__version__`, read without importing the package and what that needs."""
    for line in (ROOT / "wbsr" / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__ = "):
            return str(ast.literal_eval(line.split("=")[1].strip()))
    raise RuntimeError("wbsr/__init__.py must have a line `__version__ = ...`")


class BuildWithOptions(build_py):
    """Puts the top-level options/ into the built package, as wbsr/options; an editable install uses the clone's own."""

    def run(self) -> None:
        if self.editable_mode:
            return
        for package in self.packages:  # what an earlier build left, and is gone since, must not ship
            shutil.rmtree(Path(self.build_lib, *package.split(".")), ignore_errors=True)
        super().run()
        for target, source in self._option_files().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *self._option_files().values()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self._option_files()]

    def get_output_mapping(self) -> dict[str, str]:
        return {**super().get_output_mapping(), **self._option_files()}

    def _option_files(self) -> dict[str, str]:
        """What is built, and from which file."""
        files = sorted(path.relative_to(ROOT) for path in (ROOT / "options").rglob("*.yml"))
        return {str(Path(self.build_lib, "wbsr", path)): str(path) for path in files}


setup(
    name="wbsr",
    version=version(),
    description="Weight-balanced super-resolution (NeurIPS 2024) as a plugin for BasicSR",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["wbsr", "wbsr.*", "wbsr_*", "wbsr_*.*"]),
    package_data={"": ["py.typed"], "wbsr": ["weights/*.pth"]},
    cmdclass={"build_py": BuildWithOptions},
    install_requires=[
        "basicsr==1.4.2",
        "torch>=2.4",
        "numpy",
        "opencv-python>=4.12",  # carries colour profiles and EXIF in 16-bit PNG
        "pillow>=10.1",
        "tifffile",
        "lmdb",
        "pyyaml",
        "scikit-image",
        "scikit-learn",
        "matplotlib",
        "tqdm",
        "setuptools",  # supplies distutils, which BasicSR imports, on Python 3.12
    ],
    entry_points={"console_scripts": ["wbsr=wbsr.cli:main"]},
    extras_require={
        "onnx": ONNX,
        "safetensors": ["safetensors"],
        "test": [
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",
            "ruff>=0.9",
            "mypy>=1.14",
            "hypothesis",
            "spandrel",
            "onnxruntime",
            "jsonschema",
            "safetensors",
            "setuptools>=70.1",  # builds wheels by itself
            *ONNX,
        ],
    },
)
