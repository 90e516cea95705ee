"""What pyproject.toml cannot say: the folder `bundles` is installed as data of the package `service`."""

from setuptools import find_packages, setup

PACKAGES = find_packages(include=[f"{name}{rest}" for name in ("attend", "service", "model", "export", "tools")
                                  for rest in ("", ".*")])  # fmt: skip

setup(packages=[*PACKAGES, "service.bundles"], package_dir={"service.bundles": "bundles"})
