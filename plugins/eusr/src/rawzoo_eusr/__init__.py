"""Super-resolution by EUSR and 4PP-EUSR, and the image quality predictors it was trained with; a plugin of rawzoo."""
