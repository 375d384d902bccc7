"""Packaging of WBSR: the command `wbsr` and the plugin packages for BasicSR."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
ONNX = ["onnx", "onnxscript"]  # which torch's ONNX exporter builds on

setup(
    name="wbsr",
    version="0.1.0",
    description="Weight-balanced super-resolution (NeurIPS 2024) as a plugin for BasicSR",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["wbsr", "wbsr.*", "wbsr_*", "wbsr_*.*"]),
    package_data={"wbsr": ["weights/*.pth"]},
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
        "test": [
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist",
            "ruff>=0.9",
            "mypy>=1.14",
            "hypothesis",
            "spandrel",
            "onnxruntime",
            *ONNX,
        ],
    },
)
