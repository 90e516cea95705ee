"""Why a translation is what it is: how likely its tokens are, which words belong together, where the model looks."""
